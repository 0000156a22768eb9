/** The stretch of time that is shown, and where its ticks are. Pure: no page and no server. */

/** What is shown: [from, to) in milliseconds. */
export interface View {
  from: number;
  to: number;
}

export interface Tick {
  at: number;
  text: string;
  /** The first of a day. */
  isDay: boolean;
}

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;
const steps = [
  ...[0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30].map((length) => length * second),
  ...[1, 2, 5, 10, 15, 30].map((length) => length * minute),
  ...[1, 2, 3, 6, 12].map((length) => length * hour),
  ...[1, 2, 7, 14, 30, 60].map((length) => length * day),
];
const shortestMs = 2 * second;
const longestMs = 800 * day;

/** The smallest round length that is at least so long. */
export function roundLength(atLeastMs: number): number {
  return steps.find((step) => step >= atLeastMs) ?? steps.at(-1)!;
}

/** How far local clocks are ahead of UTC at a moment. */
function zoneOffset(at: number): number {
  return -new Date(at).getTimezoneOffset() * minute;
}

/** Round moments of the local clock, at least `spacingPx` apart. */
export function ticks(view: View, widthPx: number, spacingPx: number): Tick[] {
  const step = roundLength(((view.to - view.from) / Math.max(widthPx, 1)) * spacingPx);
  const found: Tick[] = [];
  let local = Math.floor((view.from + zoneOffset(view.from)) / step) * step;
  for (; found.length < 500; local += step) {
    // The clock may be changed between two ticks; each is right on the clock of its own moment.
    const guess = local - zoneOffset(view.from);
    const at = local - zoneOffset(guess);
    if (at >= view.to) break;
    if (at >= view.from) found.push({ at, text: tickText(at, step), isDay: isMidnight(at) });
  }
  return found;
}

function isMidnight(at: number): boolean {
  const date = new Date(at);
  return date.getHours() === 0 && date.getMinutes() === 0 && date.getSeconds() === 0 && date.getMilliseconds() === 0;
}

function tickText(at: number, step: number): string {
  const date = new Date(at);
  const pad = (value: number): string => String(value).padStart(2, "0");
  if (isMidnight(at)) return `${date.toLocaleDateString("en", { weekday: "short" })} ${date.getDate()} ${date.toLocaleDateString("en", { month: "short" })}`;
  const clock = `${pad(date.getHours())}:${pad(date.getMinutes())}`;
  if (step >= minute) return clock;
  if (step >= second) return `${clock}:${pad(date.getSeconds())}`;
  return `${pad(date.getSeconds())}.${Math.floor(date.getMilliseconds() / 100)}`;
}

/** Zoomed so that `around` stays where it is. */
export function zoomed(view: View, factor: number, around: number): View {
  const length = Math.min(Math.max((view.to - view.from) * factor, shortestMs), longestMs);
  const part = (around - view.from) / (view.to - view.from);
  const from = around - part * length;
  return { from, to: from + length };
}

export function panned(view: View, byMs: number): View {
  return { from: view.from + byMs, to: view.to + byMs };
}

/** Moved as little as shows the moment, with some of what is beside it. */
export function showing(view: View, at: number): View {
  const margin = (view.to - view.from) / 20;
  if (at < view.from + margin) return panned(view, at - view.from - margin);
  if (at > view.to - margin) return panned(view, at - view.to + margin);
  return view;
}

/** A window in the middle, with some of what is around it. */
export function around(from: number, to: number): View {
  const margin = Math.max((to - from) * 0.03, shortestMs / 4);
  return { from: from - margin, to: to + margin };
}
