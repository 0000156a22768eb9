/** What goes on after a failure, without any connection. */
import type { DescMessage, DescMethod } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { DataLossError, FootageError, UnavailableError } from "./errors.js";
import type { Archive } from "./gen/heldar/footage/v1/archive_resources_pb.js";
import type { Clip } from "./gen/heldar/footage/v1/clip_resources_pb.js";
import type { FileHeader } from "./gen/heldar/footage/v1/common_pb.js";
import { type Job, JobState } from "./gen/heldar/footage/v1/job_pb.js";

const firstPauseMs = 100;
const longestPauseMs = 5_000;

/** Codes that a connection which breaks in the middle of an answer ends with; what the server says has a reason. */
const broken = new Set([Code.Unavailable, Code.Internal, Code.Unknown, Code.Aborted, Code.DataLoss, Code.Canceled]);

/** Whether the job is in one of the three states that never change. */
export function hasEnded(job: Job): boolean {
  return job.state === JobState.SUCCEEDED || job.state === JobState.FAILED || job.state === JobState.CANCELLED;
}

/** The request with a `requestId`, where it can have one and the caller gave none. */
export function withRequestId<T extends object>(input: DescMessage, request: T): T {
  const canHave = input.fields.some((field) => field.name === "request_id");
  if (!canHave || (request as { requestId?: string }).requestId) return request;
  return { ...request, requestId: randomUuid() };
}

/** Whether a second call does no more than one: it only reads, or its request id tells the server. */
export function isRepeatable(method: DescMethod, request: object): boolean {
  return /^(Get|List)/.test(method.name) || Boolean((request as { requestId?: string }).requestId);
}

/** How long to go on after failures that pass: as the server asks, else longer each time, until time is up. */
export class Patience {
  #failures = 0;
  #giveUpAt: number | undefined;

  constructor(private readonly patienceMs: number) {}

  /** Something was received: the next failure is a first one. */
  reset(): void {
    this.#failures = 0;
    this.#giveUpAt = undefined;
  }

  /** Waits before going on; throws the error when that makes no sense. Undefined: a stream that ended early. */
  async pauseAfter(error: FootageError | undefined, signal?: AbortSignal): Promise<void> {
    const now = Date.now();
    this.#giveUpAt ??= now + this.patienceMs;
    if (error !== undefined && !passes(error)) throw error;
    const backoffMs = Math.min(firstPauseMs * 2 ** this.#failures, longestPauseMs) * (0.5 + Math.random() / 2);
    const pauseMs = Math.max(error?.retryAfterMs ?? 0, backoffMs);
    if (now + pauseMs > this.#giveUpAt) {
      throw error ?? new UnavailableError(Code.Unavailable, "the stream ended before all had come");
    }
    this.#failures += 1;
    await pause(pauseMs, signal);
  }
}

/** Whether the same call may succeed a little later. */
export function passes(error: FootageError): boolean {
  return error.code === Code.Unavailable || error.retryAfterMs !== undefined || (!error.reason && broken.has(error.code));
}

function pause(lengthMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const abort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", abort);
      resolve();
    }, lengthMs);
    signal?.addEventListener("abort", abort, { once: true });
  });
}

/** A random UUID, also on pages without HTTPS, where browsers have no `crypto.randomUUID`. */
function randomUuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const digits = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** What ended a call that is part of something longer; throws what was wrong on this side, where no further call helps. */
export function callFailure(thrown: unknown): FootageError {
  if (thrown instanceof FootageError && thrown.cause instanceof ConnectError) return thrown;
  throw thrown;
}

/** The hash of what was asked for counts, not that of a file which the server has in its place by now. */
export function checkHash(what: Clip | Archive, header: FileHeader): void {
  if (what.sha256 && header.sha256 !== what.sha256) {
    throw new DataLossError(
      Code.DataLoss,
      `${what.fileName}: the server has another file under this name, with SHA-256 ${header.sha256}, not ${what.sha256}`,
    );
  }
}
