/** Moments and lengths: between the contract's forms, numbers of milliseconds, and words. */

/** A moment as the contract has it. */
export interface Moment {
  seconds: bigint;
  nanos: number;
}

/** Milliseconds since 1970; the contract's microseconds become a fraction. */
export function toMs(moment: Moment): number {
  return Number(moment.seconds) * 1000 + moment.nanos / 1e6;
}

/** A moment, or a length, of so many milliseconds. */
export function fromMs(ms: number): Moment {
  const seconds = Math.floor(ms / 1000);
  return { seconds: BigInt(seconds), nanos: Math.round((ms - seconds * 1000) * 1e6) };
}

const pad = (value: number, digits = 2): string => String(value).padStart(digits, "0");

/** `2026-11-22` on the clock of the browser's zone. */
export function localDay(ms: number): string {
  const at = new Date(ms);
  return `${pad(at.getFullYear(), 4)}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
}

/** `13:02:14` or, with `fraction`, `13:02:14.421`. */
export function localClock(ms: number, fraction = false): string {
  const at = new Date(ms);
  const whole = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
  return fraction ? `${whole}.${pad(at.getMilliseconds(), 3)}` : whole;
}

/** Day and clock in the browser's zone. */
export function localText(ms: number, fraction = false): string {
  return `${localDay(ms)} ${localClock(ms, fraction)}`;
}

/** Day and clock in UTC. */
export function utcText(ms: number, fraction = true): string {
  const text = new Date(ms).toISOString().replace("T", " ");
  return `${fraction ? text.slice(0, -1) : text.slice(0, -5)} UTC`;
}

/** The value of an `<input type="datetime-local">`. */
export function inputValue(ms: number): string {
  return `${localDay(ms)}T${localClock(ms, true)}`;
}

/** What such an input says; undefined while it is no moment. */
export function inputMoment(value: string): number | undefined {
  const ms = new Date(value).getTime();
  return Number.isNaN(ms) ? undefined : ms;
}

/** The browser's zone: `Europe/Berlin (UTC+01:00)`. */
export function zoneName(): string {
  const minutes = -new Date().getTimezoneOffset();
  const clock = `${pad(Math.floor(Math.abs(minutes) / 60))}:${pad(Math.abs(minutes) % 60)}`;
  const offset = minutes === 0 ? "UTC" : `UTC${minutes < 0 ? "−" : "+"}${clock}`;
  const name = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return name && name !== "UTC" ? `${name} (${offset})` : offset;
}

/** A length for people: `3 min 29.98 s`, `2 d 4 h`. */
export function lengthText(ms: number): string {
  if (ms < 0) return `−${lengthText(-ms)}`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${trimmed(ms / 1000, 3)} s`;
  const seconds = Math.round(ms / 10) / 100;
  if (seconds < 3600) return joined(Math.floor(seconds / 60), "min", trimmed(seconds % 60, 2), "s");
  const minutes = Math.round(seconds / 60);
  if (minutes < 1440) return joined(Math.floor(minutes / 60), "h", String(minutes % 60), "min");
  const hours = Math.round(minutes / 60);
  return joined(Math.floor(hours / 24), "d", String(hours % 24), "h");
}

/** How far a moment is from now: `in 3 h`, `5 min ago`. */
export function fromNow(ms: number): string {
  const far = ms - Date.now();
  if (Math.abs(far) < 5_000) return "now";
  const rounded = Math.abs(far) < 60_000 ? Math.round(Math.abs(far) / 1000) * 1000 : Math.abs(far);
  const [largest] = lengthText(rounded).match(/^\S+ \S+/) ?? [""];
  return far > 0 ? `in ${largest}` : `${largest} ago`;
}

function joined(large: number, largeUnit: string, small: string, smallUnit: string): string {
  return small === "0" ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
}

function trimmed(value: number, digits: number): string {
  return String(Number(value.toFixed(digits)));
}
