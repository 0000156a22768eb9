/** What the keys do on the timeline. */
import type { Camera } from "@heldar/footage/proto";
import { panned, roundLength, zoomed } from "./axis.js";
import { activeRow, choice, cursor, moveCursor, recordedSpan, showRecorded, view } from "./state.js";
import { nextEdge } from "./tracks.js";

/** Does what the key says; false when it says nothing here. */
export function press(event: KeyboardEvent, cameras: readonly Camera[], does: { clip: () => void; archive: () => void }): boolean {
  const shown = view.value;
  if (!shown || event.altKey || event.metaKey) return false;
  const length = shown.to - shown.from;
  const isAway = cursor.value === undefined || cursor.value < shown.from || cursor.value > shown.to;
  const present = isAway ? (shown.from + shown.to) / 2 : cursor.value!;
  const camera = cameras[activeRow.value];
  switch (event.key) {
    case "ArrowLeft":
    case "ArrowRight": {
      const direction = event.key === "ArrowRight" ? 1 : -1;
      if (isAway) cursor.value = Math.round(present);
      if (!event.ctrlKey) moveCursor(stepped(present, roundLength(length / 100), direction), event.shiftKey);
      else if (camera) void moveToEdge(camera, present, direction, event.shiftKey);
      return true;
    }
    case "ArrowUp":
    case "ArrowDown": {
      const by = event.key === "ArrowDown" ? 1 : -1;
      const bounded = (row: number): number => Math.min(Math.max(row, 0), cameras.length - 1);
      if (event.shiftKey && choice.value) {
        choice.value = { ...choice.value, toRow: bounded(choice.value.toRow + by) };
        return true;
      }
      activeRow.value = bounded(activeRow.value + by);
      if (isAway) cursor.value = Math.round(present);
      if (choice.value) choice.value = { ...choice.value, row: activeRow.value, toRow: activeRow.value };
      return true;
    }
    case "Home":
    case "End": {
      const recorded = recordedSpan(camera ? [camera] : cameras);
      if (recorded) moveCursor(event.key === "Home" ? recorded.from : recorded.to, event.shiftKey);
      return true;
    }
    case "PageUp":
    case "PageDown":
      view.value = panned(shown, (event.key === "PageDown" ? 1 : -1) * length * 0.8);
      return true;
    case "+":
    case "=":
      view.value = zoomed(shown, 0.5, present);
      return true;
    case "-":
    case "_":
      view.value = zoomed(shown, 2, present);
      return true;
    case "0":
      showRecorded(cameras, true);
      return true;
    case "Enter":
      does.clip();
      return true;
    case "a":
    case "A":
      if (event.ctrlKey) return false;
      does.archive();
      return true;
    case "Escape":
      choice.value = undefined;
      return true;
    default:
      return false;
  }
}

/** A server that is away is said elsewhere; the cursor stays where it is then. */
async function moveToEdge(camera: Camera, from: number, direction: 1 | -1, extend: boolean): Promise<void> {
  const recorded = recordedSpan([camera]);
  const edge = recorded && (await nextEdge(camera.id, recorded, from, direction).catch(() => undefined));
  if (edge !== undefined) moveCursor(edge, extend);
}

/** The next moment that is a multiple of the step. */
function stepped(from: number, step: number, direction: 1 | -1): number {
  const steps = from / step;
  const next = direction > 0 ? Math.floor(steps + 1e-6) + 1 : Math.ceil(steps - 1e-6) - 1;
  return next * step;
}
