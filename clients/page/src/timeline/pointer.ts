/** Mouse, pen and finger on the timeline: choosing, moving an end of what is chosen, moving along, zooming. */
import type { TargetedPointerEvent } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { panned, type View, zoomed } from "./axis.js";
import { activeRow, choice, cursor, hover, view } from "./state.js";

/** A press that moves less than this is a click. */
const clickPx = 4;
/** As much room as what is said of the moment beneath the pointer may need. */
const hoverPx = 240;

type Drag =
  | { kind: "choose"; anchor: number; row: number; startX: number; moved: boolean }
  | { kind: "end"; anchor: number; row: number; toRow: number }
  | { kind: "pan"; from: View; startX: number };

interface Place {
  x: number;
  width: number;
  at: number;
  row: number | undefined;
  isRuler: boolean;
}

type Handler = (event: TargetedPointerEvent<HTMLDivElement>) => void;
type Handlers = Record<"onPointerDown" | "onPointerMove" | "onPointerUp" | "onPointerCancel" | "onPointerLeave", Handler>;

export function usePointer(tracks: { current: HTMLDivElement | null }): Handlers {
  const drag = useRef<Drag | undefined>(undefined);

  const placeOf = (event: PointerEvent | WheelEvent): Place | undefined => {
    const canvas = tracks.current?.querySelector("canvas");
    if (!canvas || !view.value) return undefined;
    const box = canvas.getBoundingClientRect();
    const x = Math.min(Math.max(event.clientX - box.left, 0), box.width);
    const below = document.elementFromPoint(event.clientX, event.clientY);
    const row = below?.closest<HTMLElement>("[data-row]");
    return {
      x,
      width: box.width,
      at: Math.round(view.value.from + (x / box.width) * (view.value.to - view.value.from)),
      row: row && tracks.current?.contains(row) ? Number(row.dataset["row"]) : undefined,
      isRuler: below?.closest("[data-ruler]") != null,
    };
  };

  useEffect(() => {
    const element = tracks.current;
    if (!element) return undefined;
    const turn = (event: WheelEvent): void => {
      const place = placeOf(event);
      if (!place || !view.value) return;
      event.preventDefault();
      const length = view.value.to - view.value.from;
      // Lines and pages are counted as pixels.
      const unit = event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 1 : 24;
      const sideways = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
      if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
        view.value = panned(view.value, ((sideways * unit) / place.width) * length);
      } else {
        view.value = zoomed(view.value, Math.exp(event.deltaY * unit * 0.002), place.at);
      }
    };
    // Only a listener that is not passive can keep the page from scrolling.
    element.addEventListener("wheel", turn, { passive: false });
    return () => element.removeEventListener("wheel", turn);
  }, []);

  const end = (event: PointerEvent): void => {
    const place = placeOf(event);
    const ended = drag.current;
    drag.current = undefined;
    if (ended?.kind === "choose" && !ended.moved && place) {
      activeRow.value = ended.row;
      cursor.value = ended.anchor;
    }
  };

  return {
    onPointerDown: (event) => {
      const place = placeOf(event);
      const canvas = event.target as HTMLElement;
      if (!place || event.button > 1 || !view.value || canvas.tagName !== "CANVAS") {
        if (place?.row !== undefined && (event.target as HTMLElement).closest(".track-name")) activeRow.value = place.row;
        return;
      }
      event.currentTarget.setPointerCapture(event.pointerId);
      if (place.isRuler || event.button === 1) {
        drag.current = { kind: "pan", from: view.value, startX: place.x };
        return;
      }
      const row = place.row ?? activeRow.value;
      const perPx = (view.value.to - view.value.from) / place.width;
      const reach = (event.pointerType === "mouse" ? 6 : 16) * perPx;
      const present = choice.value;
      const isInRows = present && row >= Math.min(present.row, present.toRow) && row <= Math.max(present.row, present.toRow);
      if (present && isInRows && Math.abs(place.at - present.span.from) < reach) {
        drag.current = { kind: "end", anchor: present.span.to, row: present.row, toRow: present.toRow };
      } else if (present && isInRows && Math.abs(place.at - present.span.to) < reach) {
        drag.current = { kind: "end", anchor: present.span.from, row: present.row, toRow: present.toRow };
      } else if (present && event.shiftKey) {
        const far = Math.abs(place.at - present.span.from) > Math.abs(place.at - present.span.to) ? present.span.from : present.span.to;
        drag.current = { kind: "end", anchor: far, row: present.row, toRow: present.toRow };
        choose(far, place.at, present.row, present.toRow);
      } else {
        drag.current = { kind: "choose", anchor: place.at, row, startX: place.x, moved: false };
      }
    },
    onPointerMove: (event) => {
      const place = placeOf(event);
      if (!place || !view.value) return;
      const present = drag.current;
      if (present?.kind === "pan") {
        const length = present.from.to - present.from.from;
        view.value = panned(present.from, ((present.startX - place.x) / place.width) * length);
      } else if (present?.kind === "end") {
        choose(present.anchor, place.at, present.row, present.toRow);
      } else if (present?.kind === "choose") {
        if (!present.moved && Math.abs(place.x - present.startX) < clickPx) return;
        present.moved = true;
        activeRow.value = present.row;
        choose(present.anchor, place.at, present.row, place.row ?? choice.value?.toRow ?? present.row);
      }
      const box = event.currentTarget.getBoundingClientRect();
      const isOverTrack = place.row !== undefined && (event.target as HTMLElement).tagName === "CANVAS";
      hover.value =
        (isOverTrack || present) && event.pointerType !== "touch"
          ? { at: place.at, row: place.row ?? activeRow.value, x: event.clientX - box.left, y: event.clientY - box.top, isRight: event.clientX - box.left > box.width - hoverPx }
          : undefined;
    },
    onPointerUp: end,
    onPointerCancel: () => {
      drag.current = undefined;
    },
    onPointerLeave: () => {
      hover.value = undefined;
    },
  };
}

function choose(anchor: number, to: number, row: number, toRow: number): void {
  choice.value = { row, toRow, span: { from: Math.min(anchor, to), to: Math.max(anchor, to) } };
  cursor.value = to;
}
