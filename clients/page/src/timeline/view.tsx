/** The timeline: what each camera recorded, to choose a window of it by mouse, touch or keys. */
import { effect, signal } from "@preact/signals";
import type { ComponentChildren, TargetedKeyboardEvent } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Camera } from "@heldar/footage/proto";
import { JobKind } from "@heldar/footage/proto";
import { ArchiveDialog } from "../archive_dialog.js";
import { ClipDialog } from "../clip_dialog.js";
import { Command, Empty, ErrorNote, useReading } from "../parts.js";
import { footage, lastEnded } from "../server.js";
import { inputMoment, inputValue, lengthText, localText, toMs, utcText } from "../times.js";
import { bytes, cameraName, count, gapWords } from "../words.js";
import { panned, roundLength, ticks, type View, zoomed } from "./axis.js";
import { ChoicePanel } from "./choice_panel.js";
import { type Colours, colours, drawRuler, drawTrack } from "./draw.js";
import { HoldDialog } from "./hold_dialog.js";
import { press } from "./keys.js";
import { usePointer } from "./pointer.js";
import { activeRow, choice, chosenCameras, cursor, hover, recordedSpan, showRecorded, view } from "./state.js";
import { at, forgetTracks, track, trackVersion, want } from "./tracks.js";

const shownLengths: [string, number][] = [
  ["1 min", 60_000],
  ["10 min", 600_000],
  ["1 h", 3_600_000],
  ["6 h", 6 * 3_600_000],
  ["1 d", 24 * 3_600_000],
  ["7 d", 7 * 24 * 3_600_000],
];
const tickSpacingPx = 92;
/** How often it is looked whether there is new footage. */
const lookEveryMs = 10_000;

/** Width of the tracks in pixels, and a number that grows when they must be drawn anew for another reason. */
const trackWidth = signal(0);
const redraw = signal(0);
let colour: Colours | undefined;

type OpenDialog = "clip" | "archive" | "hold" | undefined;

export function Timeline() {
  const reading = useReading(readCameras, [lastEnded.value?.kind === JobKind.IMPORT && lastEnded.value.id]);
  const cameras = reading.value;
  useEffect(() => {
    const timer = setInterval(() => document.hidden || reading.again(), lookEveryMs);
    return () => clearInterval(timer);
  }, []);
  useNewFootage(cameras);
  if (!cameras) return reading.error === undefined ? <p class="quiet">Looking what is recorded …</p> : <ErrorNote error={reading.error} again={reading.again} />;
  if (!recordedSpan(cameras)) return <NothingRecorded />;
  return <Board cameras={cameras} />;
}

async function readCameras(): Promise<Camera[]> {
  const cameras: Camera[] = [];
  for await (const camera of footage.cameras()) cameras.push(camera);
  const collator = new Intl.Collator(undefined, { numeric: true });
  return cameras.sort((one, other) => collator.compare(cameraName(one), cameraName(other)) || collator.compare(one.id, other.id));
}

/** Reads the tracks again of which there is more than before. */
function useNewFootage(cameras: Camera[] | undefined): void {
  const seen = useRef(new Map<string, string>());
  useEffect(() => {
    for (const camera of cameras ?? []) {
      const state = `${camera.segmentCount} ${camera.lastSegmentTime && toMs(camera.lastSegmentTime)}`;
      if (seen.current.has(camera.id) && seen.current.get(camera.id) !== state) forgetTracks(camera.id);
      seen.current.set(camera.id, state);
    }
  }, [cameras]);
}

function NothingRecorded() {
  return (
    <Empty title="Nothing is recorded yet">
      <p>Take in a folder that a recorder has written, on the server's machine:</p>
      <Command text="footage import /mnt/recordings --layout '{camera}/%Y-%m-%d/%H%M%S.mp4' --zone UTC" />
      <p>Or let the server follow the folder of a recorder that runs:</p>
      <Command text="HELDAR_SOURCES='yard=mediamtx@Europe/Berlin:/recordings' footage serve" />
      <p class="quiet">This page shows footage as soon as there is some.</p>
    </Empty>
  );
}

function Board({ cameras }: { cameras: Camera[] }) {
  const [open, setOpen] = useState<OpenDialog>();
  const tracks = useRef<HTMLDivElement>(null);
  const chosen = chosenCameras(cameras);
  if (!view.value) showRecorded(cameras);
  if (activeRow.value >= cameras.length) activeRow.value = cameras.length - 1;
  useDrawnAnew(tracks);
  const pointer = usePointer(tracks);

  const openIfChosen = (which: OpenDialog): void => {
    if (choice.value && choice.value.span.to > choice.value.span.from) setOpen(which);
  };
  const onKeyDown = (event: TargetedKeyboardEvent<HTMLElement>): void => {
    if (event.target !== event.currentTarget) return;
    const done = press(event, cameras, { clip: () => openIfChosen("clip"), archive: () => openIfChosen("archive") });
    if (done) event.preventDefault();
  };

  return (
    <div class="board">
      <Toolbar cameras={cameras} />
      <div
        class="tracks"
        ref={tracks}
        role="application"
        tabIndex={0}
        aria-label="Timeline"
        aria-describedby="timeline-keys"
        onKeyDown={onKeyDown}
        {...pointer}
      >
        <Ruler />
        {cameras.map((camera, row) => (
          <Row key={camera.id} camera={camera} row={row} />
        ))}
        <HoverNote cameras={cameras} />
      </div>
      <Legend />
      <Spoken cameras={cameras} />
      <ChoicePanel cameras={cameras} onClip={() => openIfChosen("clip")} onArchive={() => openIfChosen("archive")} onHold={() => openIfChosen("hold")} />
      {open === "clip" && choice.value && (
        <ClipDialog cameras={cameras} cameraId={cameras[choice.value.row]?.id ?? ""} span={choice.value.span} onClose={() => setOpen(undefined)} />
      )}
      {open === "archive" && choice.value && (
        <ArchiveDialog cameras={cameras} chosenIds={chosen.map(({ id }) => id)} span={choice.value.span} onClose={() => setOpen(undefined)} />
      )}
      {open === "hold" && choice.value && (
        <HoldDialog
          cameras={chosen}
          span={choice.value.span}
          onClose={() => setOpen(undefined)}
          onChanged={() => chosen.forEach(({ id }) => forgetTracks(id))}
        />
      )}
    </div>
  );
}

/** Draws anew when the page changes its size or its colours. */
function useDrawnAnew(tracks: { current: HTMLDivElement | null }): void {
  useEffect(() => {
    colour = colours();
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    const changed = (): void => {
      colour = colours();
      redraw.value += 1;
    };
    scheme.addEventListener("change", changed);
    const sizes = new ResizeObserver(() => {
      trackWidth.value = tracks.current?.querySelector("canvas")?.clientWidth ?? 0;
      redraw.value += 1;
    });
    if (tracks.current) sizes.observe(tracks.current);
    redraw.value += 1;
    return () => {
      scheme.removeEventListener("change", changed);
      sizes.disconnect();
    };
  }, []);
}

/** Calls `draw` before the next picture of the screen whenever a signal that it reads has changed. */
function useDrawing(draw: () => void, whenever: unknown[]): void {
  useEffect(() => {
    let frame = 0;
    const watched = (): void => {
      // What `draw` reads has to be read here, or the effect would not know of it.
      void [view.value, cursor.value, choice.value, hover.value, activeRow.value, trackVersion.value, trackWidth.value, redraw.value];
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(draw);
    };
    const end = effect(watched);
    return () => {
      cancelAnimationFrame(frame);
      end();
    };
  }, whenever);
}

function Ruler() {
  const canvas = useRef<HTMLCanvasElement>(null);
  useDrawing(() => {
    if (!canvas.current || !view.value || !colour) return;
    const marks = { selection: choice.value?.span, cursor: cursor.value, hover: undefined };
    drawRuler(canvas.current, view.value, ticks(view.value, canvas.current.clientWidth, tickSpacingPx), marks, colour);
  }, []);
  return (
    <div class="track-row ruler" data-ruler>
      <ShownDay />
      <canvas ref={canvas} aria-hidden="true" />
    </div>
  );
}

/** The day at the left edge, which the ticks alone do not tell. */
function ShownDay() {
  if (!view.value) return <span />;
  return <span class="track-name day">{localText(view.value.from).slice(0, 10)}</span>;
}

function Row({ camera, row }: { camera: Camera; row: number }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const seen = useRef(false);
  useEffect(() => {
    const observer = new IntersectionObserver(([entry]) => {
      seen.current = entry?.isIntersecting ?? false;
      if (seen.current) redraw.value += 1;
    });
    if (canvas.current) observer.observe(canvas.current);
    return () => observer.disconnect();
  }, []);
  useDrawing(() => {
    // Rows that nobody sees cost nothing.
    if (!canvas.current || !view.value || !colour || !seen.current) return;
    const width = canvas.current.clientWidth;
    want(camera.id, view.value, width);
    const isChosen = choice.value && row >= Math.min(choice.value.row, choice.value.toRow) && row <= Math.max(choice.value.row, choice.value.toRow);
    const marks = {
      selection: isChosen ? choice.value?.span : undefined,
      cursor: row === activeRow.value ? cursor.value : undefined,
      hover: hover.value?.at,
    };
    drawTrack(canvas.current, view.value, track(camera.id), recordedSpan([camera]), ticks(view.value, width, tickSpacingPx), marks, colour);
  }, [camera]);
  const isActive = activeRow.value === row;
  void trackVersion.value;
  const failure = track(camera.id)?.error;
  return (
    <div class={isActive ? "track-row active" : "track-row"} data-row={row}>
      <div class="track-name" title={`${camera.id}\n${count(camera.segmentCount, "file")}, ${bytes(camera.sizeBytes)}`}>
        <span class="name">{cameraName(camera)}</span>
        {camera.displayName && camera.displayName !== camera.id && <small>{camera.id}</small>}
      </div>
      <canvas ref={canvas} aria-hidden="true" />
      {failure !== undefined && (
        <div class="track-failure">
          <ErrorNote error={failure} again={() => forgetTracks(camera.id)} />
        </div>
      )}
    </div>
  );
}

/** What is at a moment of a camera, in words. */
function whatIsAt(camera: Camera, moment: number): string {
  const known = track(camera.id);
  if (!known) return "";
  const lock = at(known.locks, moment);
  const held = lock ? `, held as evidence${lock.incident ? ` (${lock.incident})` : ""}` : "";
  if (at(known.spans, moment)) return `recorded${held}`;
  const recorded = recordedSpan([camera]);
  if (!recorded || moment < recorded.from) return "before the first recording";
  if (moment >= recorded.to) return "after the last recording";
  const gap = at(known.gaps, moment);
  return gap ? `${gapWords[gap.reason]} for ${lengthText(gap.to - gap.from)}` : "";
}

function HoverNote({ cameras }: { cameras: Camera[] }) {
  const place = hover.value;
  const shown = view.value;
  if (!place || !shown) return null;
  const camera = cameras[place.row];
  const isFine = (shown.to - shown.from) / Math.max(trackWidth.value, 1) < 500;
  void trackVersion.value;
  return (
    <div class={place.isRight ? "hover left" : "hover"} style={{ left: `${place.x}px`, top: `${place.y}px` }} aria-hidden="true">
      <b>{localText(place.at, isFine)}</b>
      <span>{utcText(place.at, isFine)}</span>
      {camera && <span>{whatIsAt(camera, place.at)}</span>}
    </div>
  );
}

/** Says the cursor to who does not see it, when it has come to rest. */
function Spoken({ cameras }: { cameras: Camera[] }) {
  const [text, setText] = useState("");
  const present = cursor.value;
  const row = activeRow.value;
  const chosen = choice.value;
  useEffect(() => {
    const timer = setTimeout(() => {
      const camera = cameras[row];
      if (present === undefined || !camera) return;
      const length = chosen && chosen.span.to > chosen.span.from ? `; ${lengthText(chosen.span.to - chosen.span.from)} chosen` : "";
      setText(`${cameraName(camera)}, ${localText(present)}, ${whatIsAt(camera, present)}${length}`);
    }, 400);
    return () => clearTimeout(timer);
  }, [present, row, chosen]);
  return (
    <p class="spoken" aria-live="polite">
      {text}
    </p>
  );
}

function Toolbar({ cameras }: { cameras: Camera[] }) {
  const shown = view.value;
  if (!shown) return null;
  const middle = cursor.value !== undefined && cursor.value >= shown.from && cursor.value <= shown.to ? cursor.value : (shown.from + shown.to) / 2;
  const length = shown.to - shown.from;
  const show = (next: View): void => {
    view.value = next;
  };
  const showLength = (ms: number): void => {
    const recorded = recordedSpan(cameras);
    const end = recorded && middle > recorded.to ? recorded.to : middle;
    show({ from: end - ms / 2, to: end + ms / 2 });
  };
  const latest = (): void => {
    const recorded = recordedSpan(cameras);
    if (recorded) show({ from: recorded.to - length * 0.95, to: recorded.to + length * 0.05 });
  };
  return (
    <div class="toolbar">
      <div class="group" role="group" aria-label="Move">
        <button type="button" aria-label="Earlier" title="Earlier (Page Up)" onClick={() => show(panned(shown, -length / 2))}>
          ‹
        </button>
        <button type="button" aria-label="Later" title="Later (Page Down)" onClick={() => show(panned(shown, length / 2))}>
          ›
        </button>
        <button type="button" aria-label="Zoom out" title="Zoom out (−)" onClick={() => show(zoomed(shown, 2, middle))}>
          −
        </button>
        <button type="button" aria-label="Zoom in" title="Zoom in (+)" onClick={() => show(zoomed(shown, 0.5, middle))}>
          +
        </button>
      </div>
      <div class="group" role="group" aria-label="Show">
        {shownLengths.map(([name, ms]) => (
          <button key={name} type="button" aria-pressed={Math.abs(length - ms) < 1} onClick={() => showLength(ms)}>
            {name}
          </button>
        ))}
        <button type="button" title="All footage (0)" onClick={() => showRecorded(cameras, true)}>
          All
        </button>
        <button type="button" onClick={latest}>
          Latest
        </button>
      </div>
      <label class="go">
        <span>Go to</span>
        <input
          type="datetime-local"
          step="1"
          value={inputValue(middle).slice(0, 19)}
          onChange={(event) => {
            const to = inputMoment(event.currentTarget.value);
            if (to === undefined) return;
            cursor.value = to;
            show({ from: to - length / 2, to: to + length / 2 });
          }}
        />
      </label>
      <details class="keys">
        <summary>Keys</summary>
        <dl id="timeline-keys">
          <KeyLine keys="← →">move the cursor, by {lengthText(roundLength(length / 100))}</KeyLine>
          <KeyLine keys="Shift ← →">choose a window</KeyLine>
          <KeyLine keys="Ctrl ← →">to where footage begins or ends</KeyLine>
          <KeyLine keys="↑ ↓">another camera; with Shift, several</KeyLine>
          <KeyLine keys="+ −">zoom, as the wheel does; 0 shows all</KeyLine>
          <KeyLine keys="Page Up, Down">earlier, later</KeyLine>
          <KeyLine keys="Home, End">first, last footage of the camera</KeyLine>
          <KeyLine keys="Enter">make a clip of what is chosen</KeyLine>
          <KeyLine keys="A">make an archive of it</KeyLine>
          <KeyLine keys="Escape">choose nothing</KeyLine>
        </dl>
      </details>
    </div>
  );
}

function KeyLine({ keys, children }: { keys: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>
        <kbd>{keys}</kbd>
      </dt>
      <dd>{children}</dd>
    </div>
  );
}

function Legend() {
  return (
    <ul class="legend" aria-hidden="true">
      <li>
        <i class="of-footage" /> recorded
      </li>
      <li>
        <i class="of-gap" /> nothing recorded
      </li>
      <li>
        <i class="of-lock" /> held as evidence
      </li>
    </ul>
  );
}
