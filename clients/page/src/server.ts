/**
 * The connection to the server: one client for all views, and one stream that keeps jobs and alerts up to date and shows
 * whether the server is there.
 */
import { signal } from "@preact/signals";
import { Code, Footage, FootageError } from "@heldar/footage/web";
import type { BackupAlert, Job } from "@heldar/footage/proto";
import { wantsToken } from "./advice.js";
import { hasEnded } from "./words.js";

const tokenKey = "footage-token";
/** The server sends a sign of life every 15 s; a stream that is silent for longer than this is dead. */
const silenceMs = 25_000;
const longestPauseMs = 5_000;
/** A window that nobody sees gives its connection back after this: browsers have six of them for all windows. */
const hiddenMs = 60_000;
/** As many ended jobs as the server's first part has. */
const endedJobsMax = 1000;

export type Connection =
  | { state: "connecting" }
  | { state: "connected" }
  /** Out of reach, and tried again at `retryAt`. */
  | { state: "away"; why: string; retryAt: number }
  /** The proxy before the server wants a token. */
  | { state: "locked" };

export const connection = signal<Connection>({ state: "connecting" });
/** Grows when the server is back after it was away: views read anew then. */
export const returns = signal(0);
/** All jobs that have not ended and the newest that have, by id. */
export const jobs = signal<ReadonlyMap<string, Job>>(new Map());
export const alerts = signal<readonly BackupAlert[]>([]);
/** The last job that was seen to end: views whose contents it changes read anew. */
export const lastEnded = signal<Job | undefined>(undefined);

export let footage = client();
let stream: AbortController | undefined;
let wake: (() => void) | undefined;
let wasLost = false;

function client(): Footage {
  return new Footage(location.origin, { token: token() || undefined, timeoutMs: 15_000 });
}

export function token(): string {
  return sessionStorage.getItem(tokenKey) ?? "";
}

/** Uses this token from now on, until the window is closed. */
export function useToken(value: string): void {
  sessionStorage.setItem(tokenKey, value);
  footage = client();
  connection.value = { state: "connecting" };
  retryNow();
}

/** Ends the pause before the next attempt. */
export function retryNow(): void {
  stream?.abort();
  wake?.();
}

/** Keeps the stream open for as long as the page lives. */
export async function follow(): Promise<never> {
  let hidden: ReturnType<typeof setTimeout> | undefined;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hidden);
    if (document.hidden) hidden = setTimeout(() => stream?.abort(), hiddenMs);
    else wake?.();
  });
  for (let failures = 0; ; ) {
    try {
      await watch(() => (failures = 0));
      failures += 1;
      wasLost = true;
      if (!document.hidden) away("the server ended the connection", failures);
    } catch (error) {
      failures += 1;
      wasLost = true;
      if (wantsToken(error)) connection.value = { state: "locked" };
      else if (!document.hidden) away(said(error), failures);
    }
    await pause(failures);
  }
}

function said(error: unknown): string {
  if (error instanceof FootageError && error.code === Code.Canceled) return "no sign of life";
  return error instanceof Error ? error.message : String(error);
}

function pauseMs(failures: number): number {
  return Math.min(250 * 2 ** Math.min(failures, 10), longestPauseMs);
}

function away(why: string, failures: number): void {
  connection.value = { state: "away", why, retryAt: Date.now() + pauseMs(failures) };
}

/** Waits before the next attempt: for a token, for the window to be seen, or for some time. */
function pause(failures: number): Promise<void> {
  return new Promise((resolve) => {
    wake = resolve;
    if (connection.value.state !== "locked" && !document.hidden) setTimeout(resolve, pauseMs(failures));
  });
}

async function watch(onLife: () => void): Promise<void> {
  const controller = new AbortController();
  stream = controller;
  let silence: ReturnType<typeof setTimeout> | undefined;
  const known = new Map<string, Job>();
  let present: BackupAlert[] = [];
  let complete = false;
  let pending: ReturnType<typeof setTimeout> | undefined;
  const show = (): void => {
    pending = undefined;
    forgetOldest(known);
    jobs.value = new Map(known);
    alerts.value = [...present];
  };
  try {
    silence = setTimeout(() => controller.abort(), silenceMs);
    for await (const { event } of footage.jobs.watchJobs({}, { signal: controller.signal })) {
      clearTimeout(silence);
      silence = setTimeout(() => controller.abort(), silenceMs);
      onLife();
      switch (event.case) {
        case "job": {
          const before = known.get(event.value.id);
          known.set(event.value.id, event.value);
          if (complete && hasEnded(event.value) && !(before && hasEnded(before))) {
            // Whoever reads anew because of it must find it among the jobs.
            show();
            lastEnded.value = event.value;
          }
          break;
        }
        case "alert": {
          const { kind, policyId, destinationId, cleared } = event.value;
          present = present.filter(
            (alert) => alert.kind !== kind || alert.policyId !== policyId || alert.destinationId !== destinationId,
          );
          if (!cleared) present.push(event.value);
          break;
        }
        case "snapshotEnd":
          complete = true;
          show();
          connected();
          break;
      }
      // Many changes in a moment are one picture.
      if (complete && pending === undefined) pending = setTimeout(show, 80);
    }
  } finally {
    clearTimeout(silence);
    clearTimeout(pending);
  }
}

function connected(): void {
  connection.value = { state: "connected" };
  if (wasLost) returns.value += 1;
  wasLost = false;
}

function forgetOldest(known: Map<string, Job>): void {
  const ended = [...known.values()].filter(hasEnded);
  if (ended.length <= endedJobsMax) return;
  ended.sort((one, other) => Number((one.endTime?.seconds ?? 0n) - (other.endTime?.seconds ?? 0n)));
  for (const job of ended.slice(0, ended.length - endedJobsMax)) known.delete(job.id);
}
