/** What is shown and chosen on the timeline. It outlives the view, so that whoever comes back finds it as it was. */
import { signal } from "@preact/signals";
import type { Camera } from "@heldar/footage/proto";
import { toMs } from "../times.js";
import type { Span } from "../window_fields.js";
import { around, showing, type View } from "./axis.js";

/** What is chosen: a window, and the cameras from one row to another. */
export interface Choice {
  span: Span;
  /** The row that a clip is made of. */
  row: number;
  /** The row to which it reaches; an archive is made of all between. */
  toRow: number;
}

export const view = signal<View | undefined>(undefined);
export const cursor = signal<number | undefined>(undefined);
/** The row that keys work on. */
export const activeRow = signal(0);
export const choice = signal<Choice | undefined>(undefined);
/** Where the pointer is; near the right edge, what is said of it has room on the left. */
export const hover = signal<{ at: number; row: number; x: number; y: number; isRight: boolean } | undefined>(undefined);

/** Shows at most a day when there is nothing that was shown before. */
const firstShownMs = 24 * 3600 * 1000;

/** From the first recording to the end of the last one, over these cameras. */
export function recordedSpan(cameras: readonly Camera[]): Span | undefined {
  const begins = cameras.flatMap(({ firstSegmentTime }) => (firstSegmentTime ? [toMs(firstSegmentTime)] : []));
  const ends = cameras.flatMap(({ lastSegmentTime }) => (lastSegmentTime ? [toMs(lastSegmentTime)] : []));
  if (begins.length === 0 || ends.length === 0) return undefined;
  return { from: Math.min(...begins), to: Math.max(...ends) };
}

/** Shows all that there is, or the last day of it. */
export function showRecorded(cameras: readonly Camera[], all = false): void {
  const recorded = recordedSpan(cameras);
  if (!recorded) return;
  view.value = around(all ? recorded.from : Math.max(recorded.from, recorded.to - firstShownMs), recorded.to);
}

/** Moves the cursor, and with `extend` the end of the choice that is not its anchor. */
export function moveCursor(to: number, extend: boolean): void {
  if (!view.value) return;
  const at = Math.round(to);
  if (extend) {
    const from = cursor.value ?? at;
    const present = choice.value;
    // The end at the cursor moves; the other one stays.
    const anchor = present && Math.abs(present.span.to - from) < 1 ? present.span.from : present && Math.abs(present.span.from - from) < 1 ? present.span.to : from;
    const row = present?.row ?? activeRow.value;
    choice.value = { row, toRow: present?.toRow ?? row, span: { from: Math.min(anchor, at), to: Math.max(anchor, at) } };
  }
  cursor.value = at;
  view.value = showing(view.value, at);
}

/** The cameras of the choice, in the order of the rows. */
export function chosenCameras(cameras: readonly Camera[]): Camera[] {
  if (!choice.value) return [];
  const { row, toRow } = choice.value;
  return cameras.slice(Math.min(row, toRow), Math.max(row, toRow) + 1);
}
