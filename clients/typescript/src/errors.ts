/**
 * Errors of calls and of jobs, with what the server says about them: a class per status code, and in each the reason of
 * `ErrorReason` (without its prefix), the fields that are wrong, what does not exist, how long to wait.
 */
import type { Message } from "@bufbuild/protobuf";
import { anyUnpack, type Any } from "@bufbuild/protobuf/wkt";
import { createRegistry } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import {
  BadRequestSchema,
  type BadRequest,
  ErrorInfoSchema,
  type ErrorInfo,
  PreconditionFailureSchema,
  QuotaFailureSchema,
  RequestInfoSchema,
  ResourceInfoSchema,
  type ResourceInfo,
  RetryInfoSchema,
  type RetryInfo,
} from "./gen/google/rpc/error_details_pb.js";
import type { Status } from "./gen/google/rpc/status_pb.js";
import { type Job, JobState } from "./gen/heldar/footage/v1/job_pb.js";

const detailTypes = [
  ErrorInfoSchema,
  BadRequestSchema,
  ResourceInfoSchema,
  PreconditionFailureSchema,
  QuotaFailureSchema,
  RetryInfoSchema,
  RequestInfoSchema,
] as const;
const registry = createRegistry(...detailTypes);

/** A field that is wrong: its path in the request, and what would be right. */
export interface FieldViolation {
  field: string;
  description: string;
}

/** What an error is about, such as the camera that does not exist. */
export interface Resource {
  type: string;
  name: string;
}

/** A call that failed. The subclasses say how. */
export class FootageError extends Error {
  /** Why, for programs: a name of ErrorReason without its prefix; empty when something else than the server failed. */
  readonly reason: string = "";
  /** The namespace of the reason, `footage.heldar`. */
  readonly domain: string = "";
  /** More about the reason, such as `job_id`. */
  readonly metadata: Record<string, string> = {};
  /** Every field that is wrong. */
  readonly fieldViolations: FieldViolation[] = [];
  /** What the error is about. */
  readonly resource: Resource | undefined;
  /** How long to wait before calling again. */
  readonly retryAfterMs: number | undefined;

  constructor(
    /** The status code. */
    readonly code: Code,
    message: string,
    /** Everything the server added, as messages of google.rpc. */
    readonly details: Message[] = [],
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = new.target.name;
    for (const detail of details) {
      switch (detail.$typeName) {
        case "google.rpc.ErrorInfo": {
          const info = detail as ErrorInfo;
          this.reason = info.reason;
          this.domain = info.domain;
          this.metadata = { ...info.metadata };
          break;
        }
        case "google.rpc.BadRequest":
          this.fieldViolations = (detail as BadRequest).fieldViolations.map(({ field, description }) => ({
            field,
            description,
          }));
          break;
        case "google.rpc.ResourceInfo":
          this.resource = {
            type: (detail as ResourceInfo).resourceType,
            name: (detail as ResourceInfo).resourceName,
          };
          break;
        case "google.rpc.RetryInfo": {
          const delay = (detail as RetryInfo).retryDelay;
          this.retryAfterMs = delay && Number(delay.seconds) * 1000 + delay.nanos / 1e6;
          break;
        }
      }
    }
  }

  /** The message, the reason, and which fields are wrong, in a line. */
  override toString(): string {
    const fields = this.fieldViolations.map(({ field }) => field).join(", ");
    return `${this.name}: ${this.message} (${this.reason || Code[this.code]}${fields && `: ${fields}`})`;
  }
}

/** The request is wrong; `fieldViolations` names every field at once. */
export class InvalidArgumentError extends FootageError {}
/** What was named does not exist, or there is no footage; see `resource`. */
export class NotFoundError extends FootageError {}
/** The id that was chosen is taken. */
export class AlreadyExistsError extends FootageError {}
/** Something has to be put right first. */
export class FailedPreconditionError extends FootageError {}
/** Somebody else changed it since it was read. */
export class AbortedError extends FootageError {}
/** There is too much of something just now; see `retryAfterMs`. */
export class ResourceExhaustedError extends FootageError {}
/** An offset past the end. */
export class OutOfRangeError extends FootageError {}
/** The server is away or shuts down; call again after `retryAfterMs`. */
export class UnavailableError extends FootageError {}
/** A file is not what it was. */
export class DataLossError extends FootageError {}
/** The server does not have this method, or not yet. */
export class UnimplementedError extends FootageError {}
/** A fault of the server. */
export class InternalError extends FootageError {}
/** No answer came in time. */
export class DeadlineExceededError extends FootageError {}
/** The call was cancelled on this side. */
export class CancelledError extends FootageError {}
/** The token is missing or wrong. */
export class UnauthenticatedError extends FootageError {}
/** The token does not allow this. */
export class PermissionDeniedError extends FootageError {}

/** A job ended without a result. `reason` and `metadata` are as those of a failed call. */
export class JobFailedError extends FootageError {
  constructor(
    /** The job as it ended. */
    readonly job: Job,
    code: Code,
    message: string,
    details: Message[] = [],
  ) {
    super(code, message, details);
  }
}

/** A job was cancelled by somebody. */
export class JobCancelledError extends JobFailedError {
  override readonly reason = "CANCELLED";

  constructor(job: Job) {
    super(job, Code.Canceled, `job ${job.id} was cancelled`);
  }
}

const families = new Map<Code, typeof FootageError>([
  [Code.InvalidArgument, InvalidArgumentError],
  [Code.NotFound, NotFoundError],
  [Code.AlreadyExists, AlreadyExistsError],
  [Code.FailedPrecondition, FailedPreconditionError],
  [Code.Aborted, AbortedError],
  [Code.ResourceExhausted, ResourceExhaustedError],
  [Code.OutOfRange, OutOfRangeError],
  [Code.Unavailable, UnavailableError],
  [Code.DataLoss, DataLossError],
  [Code.Unimplemented, UnimplementedError],
  [Code.Internal, InternalError],
  [Code.DeadlineExceeded, DeadlineExceededError],
  [Code.Canceled, CancelledError],
  [Code.Unauthenticated, UnauthenticatedError],
  [Code.PermissionDenied, PermissionDeniedError],
]);

/** What a failed call means, whatever it threw. */
export function fromCall(thrown: unknown): FootageError {
  if (thrown instanceof FootageError) return thrown;
  const error = ConnectError.from(thrown);
  const details = detailTypes.flatMap((type): Message[] => error.findDetails(type));
  return new (families.get(error.code) ?? FootageError)(error.code, error.rawMessage, details, { cause: error });
}

/** What a google.rpc.Status inside an answer means, such as a warning of a job or `TestDestinationResponse.error`. */
export function fromStatus(status: Status): FootageError {
  const code = status.code as Code;
  return new (families.get(code) ?? FootageError)(code, status.message, unpacked(status.details));
}

/** Why a job that ended has no result. */
export function fromJob(job: Job): JobFailedError {
  if (job.state === JobState.CANCELLED) return new JobCancelledError(job);
  return new JobFailedError(
    job,
    (job.error?.code ?? Code.Unknown) as Code,
    job.error?.message ?? "",
    unpacked(job.error?.details ?? []),
  );
}

/** The details of the types that this service uses; a newer server may send others. */
function unpacked(details: Any[]): Message[] {
  return details.flatMap((detail): Message[] => {
    try {
      const message = anyUnpack(detail, registry);
      return message ? [message] : [];
    } catch {
      // What cannot be read says nothing; code and message stand without it.
      return [];
    }
  });
}
