/** Names and figures of the contract, for people. */
import {
  ArchiveLayout,
  type Camera,
  ClipEngine,
  DestinationPauseReason,
  GapMode,
  GapReason,
  type Job,
  JobKind,
  type JobProgress,
  JobState,
} from "@heldar/footage/proto";
import { lengthText, toMs } from "./times.js";

/** `107 MB`. */
export function bytes(size: bigint | number): string {
  let value = Number(size);
  if (value < 1000) return `${value}\u00a0B`;
  for (const unit of ["kB", "MB", "GB", "TB"]) {
    value /= 1000;
    if (value < 999.5) return `${value < 9.95 ? value.toFixed(2) : value < 99.5 ? value.toFixed(1) : Math.round(value)}\u00a0${unit}`;
  }
  return `${value.toFixed(0)}\u00a0TB`;
}

/** `1 file`, `2 files`. */
export function count(number: bigint | number, one: string, more = `${one}s`): string {
  return `${Number(number).toLocaleString("en")} ${Number(number) === 1 ? one : more}`;
}

/** What a camera is called. */
export function cameraName(camera: Camera): string {
  return camera.displayName || camera.id;
}

export const gapWords: Record<GapReason, string> = {
  [GapReason.UNSPECIFIED]: "no footage",
  [GapReason.NOT_RECORDED]: "not recorded",
  [GapReason.FILE_MISSING]: "file missing",
  [GapReason.FILE_DAMAGED]: "file damaged",
  [GapReason.CODEC_CHANGE]: "another codec",
  [GapReason.NO_KEY_FRAME]: "no key frame",
};

export const gapModeWords: Record<GapMode, string> = {
  [GapMode.UNSPECIFIED]: "",
  [GapMode.CLOSE]: "closed up",
  [GapMode.KEEP]: "kept as time",
};

export const engineWords: Record<ClipEngine, string> = {
  [ClipEngine.UNSPECIFIED]: "",
  [ClipEngine.AUTO]: "automatic",
  [ClipEngine.NATIVE]: "copied by the service",
  [ClipEngine.FFMPEG]: "copied by ffmpeg",
  [ClipEngine.RENDER]: "encoded anew",
};

export const layoutWords: Record<ArchiveLayout, string> = {
  [ArchiveLayout.UNSPECIFIED]: "",
  [ArchiveLayout.SEGMENTS]: "the recorder's files",
  [ArchiveLayout.CLIPS]: "one clip per camera",
  [ArchiveLayout.SEGMENTS_AND_CLIPS]: "the recorder's files and clips",
};

export const kindWords: Record<JobKind, string> = {
  [JobKind.UNSPECIFIED]: "Job",
  [JobKind.CLIP]: "Clip",
  [JobKind.ARCHIVE]: "Archive",
  [JobKind.BACKUP]: "Backup",
  [JobKind.VERIFY]: "Verification",
  [JobKind.RESTORE]: "Restore",
  [JobKind.IMPORT]: "Import",
};

export const stateWords: Record<JobState, string> = {
  [JobState.UNSPECIFIED]: "",
  [JobState.QUEUED]: "waiting",
  [JobState.RUNNING]: "running",
  [JobState.CANCELLING]: "stopping",
  [JobState.SUCCEEDED]: "done",
  [JobState.FAILED]: "failed",
  [JobState.CANCELLED]: "cancelled",
};

export const pauseWords: Record<DestinationPauseReason, string> = {
  [DestinationPauseReason.UNSPECIFIED]: "paused",
  [DestinationPauseReason.LOGIN_REFUSED]: "login refused",
  [DestinationPauseReason.HOST_CHANGED]: "another host key",
  [DestinationPauseReason.FULL]: "full",
  [DestinationPauseReason.READ_ONLY]: "read-only",
};

export function hasEnded(job: Job): boolean {
  return job.state === JobState.SUCCEEDED || job.state === JobState.FAILED || job.state === JobState.CANCELLED;
}

/** `cutting · 47.4 MB of 107 MB · 47.4 MB/s · 2 s left`. */
export function progressText(progress: JobProgress | undefined): string {
  if (!progress) return "";
  const said = [progress.phase];
  if (progress.bytesTotal > 0n) said.push(`${bytes(progress.bytesDone)} of ${bytes(progress.bytesTotal)}`);
  else if (progress.bytesDone > 0n) said.push(bytes(progress.bytesDone));
  if (progress.filesTotal > 1n) said.push(`${progress.filesDone} of ${count(progress.filesTotal, "file")}`);
  if (progress.bytesPerSecond > 0n) said.push(`${bytes(progress.bytesPerSecond)}/s`);
  if (progress.timeLeft) said.push(`${lengthText(Math.ceil(toMs(progress.timeLeft) / 1000) * 1000)} left`);
  if (progress.currentItem) said.push(progress.currentItem);
  return said.filter(Boolean).join(" · ");
}

/** The key of the label that this page gives to what it makes. */
export const labelKey = "label";

/** All labels as one text: the one that this page gave first. */
export function labelText(labels: Record<string, string>): string {
  const { [labelKey]: own, ...others } = labels;
  return [own, ...Object.entries(others).map(([key, value]) => `${key}: ${value}`)].filter(Boolean).join(" · ");
}
