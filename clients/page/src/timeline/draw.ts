/** Draws a track and the ruler above all tracks, in the colours of the page's style sheet. */
import type { Span } from "../window_fields.js";
import { GapReason } from "@heldar/footage/proto";
import type { Tick, View } from "./axis.js";
import type { Stretch, Track } from "./tracks.js";

/** The colours, read from the style sheet for the present scheme. */
export interface Colours {
  text: string;
  quiet: string;
  line: string;
  ground: string;
  footage: string;
  gap: string;
  fault: string;
  lock: string;
  selection: string;
  selectionEdge: string;
  cursor: string;
}

export function colours(): Colours {
  const style = getComputedStyle(document.documentElement);
  const read = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  return {
    text: read("text"),
    quiet: read("quiet"),
    line: read("line"),
    ground: read("track"),
    footage: read("footage"),
    gap: read("gap"),
    fault: read("fault"),
    lock: read("lock"),
    selection: read("selection"),
    selectionEdge: read("selection-edge"),
    cursor: read("cursor"),
  };
}

/** Makes the canvas as large as it is shown, in the screen's own pixels; undefined while it is not shown. */
function prepared(canvas: HTMLCanvasElement): { context: CanvasRenderingContext2D; width: number; height: number } | undefined {
  const { clientWidth: width, clientHeight: height } = canvas;
  const context = canvas.getContext("2d");
  if (!context || width === 0) return undefined;
  const scale = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

/** What lies over a track. */
export interface Marks {
  selection: Span | undefined;
  cursor: number | undefined;
  hover: number | undefined;
}

const lockHeight = 5;

export function drawTrack(
  canvas: HTMLCanvasElement,
  view: View,
  track: Track | undefined,
  recorded: Stretch | undefined,
  ticks: Tick[],
  marks: Marks,
  colour: Colours,
): void {
  const place = prepared(canvas);
  if (!place) return;
  const { context, width, height } = place;
  const x = (moment: number): number => ((moment - view.from) / (view.to - view.from)) * width;
  const box = (from: number, to: number, top: number, tall: number): void => {
    const left = Math.max(x(from), -2);
    // What is recorded is never too short to be seen.
    const right = Math.min(Math.max(x(to), left + 1), width + 2);
    if (right > left) context.fillRect(left, top, right - left, tall);
  };

  context.fillStyle = colour.ground;
  context.fillRect(0, 0, width, height);
  context.fillStyle = colour.line;
  for (const tick of ticks) context.fillRect(Math.round(x(tick.at)), 0, tick.isDay ? 2 : 1, height);

  const top = 7;
  const tall = height - 14;
  if (track) {
    // Before the first recording and after the last one nothing is missing.
    for (const gap of track.gaps) {
      const from = Math.max(gap.from, recorded?.from ?? gap.from);
      const to = Math.min(gap.to, recorded?.to ?? gap.to);
      if (to <= from || x(to) < 0 || x(from) > width) continue;
      const isFault = gap.reason !== GapReason.NOT_RECORDED && gap.reason !== GapReason.UNSPECIFIED;
      hatch(context, Math.max(x(from), 0), top, Math.min(x(to), width), tall, isFault ? colour.fault : colour.gap);
    }
    context.fillStyle = colour.footage;
    for (const span of track.spans) if (span.to > view.from && span.from < view.to) box(span.from, span.to, top, tall);
    context.fillStyle = colour.lock;
    for (const lock of track.locks) if (lock.to > view.from && lock.from < view.to) box(lock.from, lock.to, top - lockHeight + 1, lockHeight);
  }

  if (marks.selection) {
    const left = x(marks.selection.from);
    const right = x(marks.selection.to);
    context.fillStyle = colour.selection;
    context.fillRect(left, 0, Math.max(right - left, 1), height);
    context.fillStyle = colour.selectionEdge;
    context.fillRect(left - 1, 0, 2, height);
    context.fillRect(right - 1, 0, 2, height);
  }
  if (marks.hover !== undefined) {
    context.fillStyle = colour.quiet;
    context.fillRect(Math.round(x(marks.hover)), 0, 1, height);
  }
  if (marks.cursor !== undefined) {
    context.fillStyle = colour.cursor;
    context.fillRect(Math.round(x(marks.cursor)) - 1, 0, 2, height);
  }
}

function hatch(context: CanvasRenderingContext2D, left: number, top: number, right: number, tall: number, colour: string): void {
  context.save();
  context.beginPath();
  context.rect(left, top, right - left, tall);
  context.clip();
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.beginPath();
  // Lines at fixed places, so that they stand still while a gap grows beneath the pointer.
  for (let at = Math.floor((left - tall) / 6) * 6; at < right; at += 6) {
    context.moveTo(at, top + tall);
    context.lineTo(at + tall, top);
  }
  context.stroke();
  context.restore();
}

export function drawRuler(canvas: HTMLCanvasElement, view: View, ticks: Tick[], marks: Marks, colour: Colours): void {
  const place = prepared(canvas);
  if (!place) return;
  const { context, width, height } = place;
  const x = (moment: number): number => ((moment - view.from) / (view.to - view.from)) * width;
  context.font = "12px system-ui, sans-serif";
  context.textBaseline = "middle";
  for (const tick of ticks) {
    const left = Math.round(x(tick.at));
    context.fillStyle = colour.line;
    context.fillRect(left, height - 7, tick.isDay ? 2 : 1, 7);
    const wide = context.measureText(tick.text).width;
    if (left + wide + 6 > width) continue;
    context.fillStyle = tick.isDay ? colour.text : colour.quiet;
    context.fillText(tick.text, left + 5, height / 2);
  }
  if (marks.selection) {
    context.fillStyle = colour.selectionEdge;
    context.fillRect(x(marks.selection.from) - 1, height - 4, Math.max(x(marks.selection.to) - x(marks.selection.from), 2) + 2, 4);
  }
  if (marks.cursor !== undefined) {
    context.fillStyle = colour.cursor;
    const at = Math.round(x(marks.cursor));
    context.beginPath();
    context.moveTo(at - 5, height - 8);
    context.lineTo(at + 5, height - 8);
    context.lineTo(at, height);
    context.fill();
  }
}
