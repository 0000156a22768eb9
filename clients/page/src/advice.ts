/** What to do about an error: one sentence for each reason that a person can do something about. */
import { Code, FootageError } from "@heldar/footage/web";

const byReason: Record<string, string> = {
  INVALID_FIELD: "Put the fields right that are named here, and try again.",
  WINDOW_REVERSED: "Choose an end that is later than the beginning.",
  WINDOW_TOO_LONG: "A clip lasts at most an hour. Choose a shorter window, or make an archive of clips.",
  ARCHIVE_TOO_LARGE: "Choose a shorter window or fewer cameras. The operator can raise the limit that is named here.",
  CAMERA_NOT_FOUND: "The camera was forgotten meanwhile. Load the page again.",
  NO_FOOTAGE: "Choose a window in which the timeline shows footage.",
  CLIP_NOT_FOUND: "It was deleted or has expired. Make it again from the timeline.",
  ARCHIVE_NOT_FOUND: "It was deleted or has expired. Make it again from the timeline.",
  JOB_NOT_FOUND: "The record of the job has expired.",
  JOB_STATE: "The job has moved on meanwhile; the list shows how it stands.",
  FFMPEG_UNAVAILABLE: "On the server, run `footage doctor`: it says how to install ffmpeg.",
  RCLONE_UNAVAILABLE: "On the server, run `footage doctor`: it says how to install rclone.",
  FFMPEG_FAILED: "Try again; if it fails again, the log of the server has what ffmpeg said.",
  RCLONE_FAILED: "Test the destination, then run the policy again.",
  DESTINATION_UNREACHABLE: "See that the destination is there and can be read, test it, then run the policy again.",
  DESTINATION_UNUSABLE: "Put the destination's settings right, test it, then run the policy again.",
  DESTINATION_DISABLED: "Test the destination: one that passes is no longer paused. A disabled one has to be enabled by UpdateDestination.",
  POLICY_RUNNING: "A run is under way; see it below or among the jobs.",
  SECRET_KEY_MISSING: "Start the server with the HELDAR_SECRET_KEY that the secrets were sealed with.",
  ENGINE_UNSUITABLE: "Make a clip with a file instead of a virtual one.",
  HOLD_UNSUPPORTED: "Make the virtual clip without holding its recordings, or make a file.",
  ETAG_STALE: "Somebody changed it meanwhile. Look at it again, then repeat.",
  QUEUE_FULL: "Wait until some of the jobs have ended, then try again.",
  DISK_FULL: "Delete clips or archives that are no longer needed, or free space on the server's disk.",
  TOO_MANY_WATCHERS: "Close other windows of this page.",
  DRAINING: "The server is being restarted. Try again in a moment.",
  DATABASE_UNAVAILABLE: "The server's database does not answer. Try again in a moment.",
  FILE_CORRUPTED: "The file on the server's disk is not what was written. Delete it and make it again.",
  SOURCES_GONE: "The recordings of this virtual clip are gone or changed. Next time make it a file or hold its recordings.",
  TIMED_OUT: "Try a shorter window, or let the operator raise the limit on the time of jobs.",
  ATTEMPTS_USED_UP: "Retry the job when the server stays up.",
  CANCELLED: "It was cancelled. Make it again when it is wanted.",
  INTERNAL: "Try again; if it fails again, the log of the server says why.",
};

const byCode: Partial<Record<Code, string>> = {
  [Code.Unavailable]: "The server is not reachable. Try again when it is back.",
  [Code.DeadlineExceeded]: "No answer came in time. Try again.",
  [Code.Unauthenticated]: "Enter a token that is allowed to do this.",
  [Code.PermissionDenied]: "Your token does not allow this. Ask whoever runs the server.",
  [Code.Unimplemented]: "This server is older than this page. Load the page again.",
};

/** What went wrong, in the server's words, and what to do next. */
export interface Explained {
  message: string;
  reason: string;
  fields: { field: string; description: string }[];
  next: string;
}

export function explain(thrown: unknown): Explained {
  if (!(thrown instanceof FootageError)) {
    const message = thrown instanceof Error ? thrown.message : String(thrown);
    return { message, reason: "", fields: [], next: "Load the page again." };
  }
  return {
    message: thrown.message || Code[thrown.code] || "failed",
    reason: thrown.reason,
    fields: thrown.fieldViolations,
    next: byReason[thrown.reason] ?? byCode[thrown.code] ?? "Try again; if it fails again, the log of the server says why.",
  };
}

/** Whether the proxy before the server wants a token, or another one. */
export function wantsToken(thrown: unknown): boolean {
  return thrown instanceof FootageError && thrown.code === Code.Unauthenticated;
}
