/** What each camera has recorded, as far as it was asked for: read by need, a few cameras at a time. */
import { signal } from "@preact/signals";
import type { Timeline } from "@heldar/footage/proto";
import { connection, footage } from "../server.js";
import { wantsToken } from "../advice.js";
import { fromMs, toMs } from "../times.js";
import type { View } from "./axis.js";

/** A stretch as it is drawn, in milliseconds. */
export interface Stretch {
  from: number;
  to: number;
}

export interface Track {
  spans: Stretch[];
  gaps: (Stretch & { reason: Timeline["gaps"][number]["reason"] })[];
  locks: (Stretch & { incident: string })[];
  /** What was asked for. */
  loaded: View;
  resolutionMs: number;
  error: unknown;
}

/** Browsers have six connections to a server; two stay free. */
const readersMax = 3;
const settleMs = 60;

/** Grows with each answer, so that what shows tracks is drawn anew. */
export const trackVersion = signal(0);

const tracks = new Map<string, Track>();
const wanted = new Map<string, { view: View; resolutionMs: number }>();
const beingRead = new Set<string>();
let timer: ReturnType<typeof setTimeout> | undefined;

export function track(cameraId: string): Track | undefined {
  return tracks.get(cameraId);
}

/** Forgets everything, or one camera, so that it is read again. */
export function forgetTracks(cameraId?: string): void {
  if (cameraId === undefined) for (const known of tracks.values()) known.resolutionMs = Infinity;
  else {
    const known = tracks.get(cameraId);
    if (known) known.resolutionMs = Infinity;
  }
  trackVersion.value += 1;
}

/** Asks for what a camera recorded in a view that is so many pixels wide, unless it is there already. */
export function want(cameraId: string, view: View, widthPx: number): void {
  const resolutionMs = (view.to - view.from) / Math.max(widthPx, 1);
  const known = tracks.get(cameraId);
  const fits =
    known &&
    known.loaded.from <= view.from &&
    known.loaded.to >= view.to &&
    known.resolutionMs <= Math.max(resolutionMs * 1.01, 1000) &&
    known.resolutionMs >= Math.min(resolutionMs / 8, 1000);
  if (fits) {
    wanted.delete(cameraId);
    return;
  }
  wanted.set(cameraId, { view, resolutionMs });
  timer ??= setTimeout(() => {
    timer = undefined;
    readNext();
  }, settleMs);
}

function readNext(): void {
  for (const [cameraId, { view, resolutionMs }] of wanted) {
    if (beingRead.size >= readersMax) return;
    if (beingRead.has(cameraId)) continue;
    wanted.delete(cameraId);
    beingRead.add(cameraId);
    void read(cameraId, view, resolutionMs).finally(() => {
      beingRead.delete(cameraId);
      trackVersion.value += 1;
      readNext();
    });
  }
}

async function read(cameraId: string, view: View, resolutionMs: number): Promise<void> {
  // As much again on both sides, so that small moves need nothing.
  const length = view.to - view.from;
  const loaded = { from: view.from - length, to: view.to + length };
  try {
    const timeline = await footage.catalog.getTimeline({
      cameraId,
      startTime: fromMs(loaded.from),
      endTime: fromMs(loaded.to),
      resolution: fromMs(Math.max(resolutionMs, 1000)),
    });
    tracks.set(cameraId, { ...stretches(timeline), loaded, resolutionMs: Math.max(resolutionMs, 1), error: undefined });
  } catch (error) {
    if (wantsToken(error)) connection.value = { state: "locked" };
    const before = tracks.get(cameraId);
    // What was tried counts as read, or it would be tried without end; the row has a button for another attempt.
    tracks.set(cameraId, { spans: [], gaps: [], locks: [], ...before, loaded, resolutionMs: Math.max(resolutionMs, 1), error });
  }
}

function stretches(timeline: Timeline): Pick<Track, "spans" | "gaps" | "locks"> {
  const stretch = (window: { startTime?: Parameters<typeof toMs>[0]; endTime?: Parameters<typeof toMs>[0] }): Stretch => ({
    from: window.startTime ? toMs(window.startTime) : 0,
    to: window.endTime ? toMs(window.endTime) : 0,
  });
  return {
    spans: timeline.spans.map(stretch),
    gaps: timeline.gaps.map((gap) => ({ ...stretch(gap), reason: gap.reason })),
    locks: timeline.locks.map((lock) => ({ ...stretch(lock), incident: lock.incidentId })),
  };
}

/** The stretch that holds a moment. The stretches are in order. */
export function at<T extends Stretch>(list: readonly T[], moment: number): T | undefined {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle]!.to <= moment) low = middle + 1;
    else high = middle;
  }
  const found = list[low];
  return found && found.from <= moment ? found : undefined;
}

/** The next beginning or end of footage after a moment, or before it; the server is asked where it is not known yet. */
export async function nextEdge(cameraId: string, recorded: Stretch, moment: number, direction: 1 | -1): Promise<number | undefined> {
  const known = tracks.get(cameraId);
  const edge = known && edgeBeside(known.spans, known.loaded, moment, direction);
  if (edge !== undefined) return edge;
  const asked = direction > 0 ? { from: moment, to: recorded.to + 1 } : { from: recorded.from - 1, to: moment };
  if (asked.to <= asked.from) return undefined;
  const window = { cameraId, startTime: fromMs(asked.from), endTime: fromMs(asked.to) };
  return edgeBeside(stretches(await footage.catalog.getTimeline(window)).spans, asked, moment, direction);
}

/** Spans are cut to the window that was asked for, and its ends are no ends of footage. */
function edgeBeside(spans: readonly Stretch[], asked: View, moment: number, direction: 1 | -1): number | undefined {
  const edges = spans.flatMap(({ from, to }) => [from, to]).filter((edge) => edge > asked.from + 0.5 && edge < asked.to - 0.5);
  return direction > 0 ? edges.find((edge) => edge > moment + 0.5) : edges.findLast((edge) => edge < moment - 0.5);
}
