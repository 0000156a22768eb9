/** The client on any transport: jobs that are started and followed. */
import { type MessageInitShape } from "@bufbuild/protobuf";
import { type Timestamp, timestampFromDate } from "@bufbuild/protobuf/wkt";
import type { Client, Transport } from "@connectrpc/connect";
import { FootageError, fromCall, fromJob } from "./errors.js";
import { type Archive, type ArchiveSpecSchema } from "./gen/heldar/footage/v1/archive_resources_pb.js";
import { ArchiveService, type CreateArchiveRequestSchema } from "./gen/heldar/footage/v1/archive_pb.js";
import { BackupService, type RunPolicyRequestSchema } from "./gen/heldar/footage/v1/backup_pb.js";
import { type BackupRun } from "./gen/heldar/footage/v1/backup_resources_pb.js";
import { CatalogService } from "./gen/heldar/footage/v1/catalog_pb.js";
import { type Camera } from "./gen/heldar/footage/v1/catalog_resources_pb.js";
import { ClipService, type CreateClipRequestSchema } from "./gen/heldar/footage/v1/clip_pb.js";
import { type Clip } from "./gen/heldar/footage/v1/clip_resources_pb.js";
import { type Job, JobService, JobState } from "./gen/heldar/footage/v1/job_pb.js";
import { hasEnded, Patience } from "./resuming.js";
import { type CallSettings, type FilledSettings, serviceClient } from "./services.js";

/** A moment, as JavaScript or the contract has it. */
export type Moment = Date | Timestamp;
type ClipFields = Omit<MessageInitShape<typeof CreateClipRequestSchema>, "$typeName" | "cameraId" | "startTime" | "endTime" | "validateOnly">;
type ArchiveFields = Omit<MessageInitShape<typeof CreateArchiveRequestSchema>, "$typeName" | "spec" | "validateOnly"> & {
  spec?: Omit<MessageInitShape<typeof ArchiveSpecSchema>, "$typeName" | "cameraIds" | "startTime" | "endTime">;
};
type RunFields = Omit<MessageInitShape<typeof RunPolicyRequestSchema>, "$typeName" | "policyId">;

/** What the clients for Node and for the browser have in common. */
export class FootageClient {
  readonly clips: Client<typeof ClipService>;
  readonly archives: Client<typeof ArchiveService>;
  readonly backups: Client<typeof BackupService>;
  readonly jobs: Client<typeof JobService>;
  readonly catalog: Client<typeof CatalogService>;
  /** @internal */
  readonly settings: FilledSettings;

  constructor(transport: Transport, settings: CallSettings = {}) {
    this.settings = { timeoutMs: settings.timeoutMs ?? 30_000, patienceMs: settings.patienceMs ?? 120_000 };
    this.clips = serviceClient(ClipService, transport, this.settings);
    this.archives = serviceClient(ArchiveService, transport, this.settings);
    this.backups = serviceClient(BackupService, transport, this.settings);
    this.jobs = serviceClient(JobService, transport, this.settings);
    this.catalog = serviceClient(CatalogService, transport, this.settings);
  }

  /** Every camera, the most recently created first. */
  async *cameras(): AsyncGenerator<Camera> {
    let pageToken = "";
    do {
      const page = await this.catalog.listCameras({ pageToken });
      yield* page.cameras;
      pageToken = page.nextPageToken;
    } while (pageToken);
  }

  /**
   * Starts a clip. `fields` are further ones of CreateClipRequest, such as `labels` or `keepFor`. For a plan alone, with
   * `validateOnly`, call `clips.createClip`: it makes no job.
   */
  async createClip(cameraId: string, start: Moment, end: Moment, fields: ClipFields = {}): Promise<RunningJob<Clip>> {
    refusePlan(fields, "clips.createClip");
    const request = { ...fields, cameraId, startTime: timestamp(start), endTime: timestamp(end) };
    return new RunningJob<Clip>(this, await this.clips.createClip(request));
  }

  /**
   * Starts an archive; no ids mean all cameras. `fields` are further ones of CreateArchiveRequest and, in `spec`, of
   * ArchiveSpec. For a plan alone, with `validateOnly`, call `archives.createArchive`: it makes no job.
   */
  async createArchive(
    cameraIds: string[] = [],
    start?: Moment,
    end?: Moment,
    fields: ArchiveFields = {},
  ): Promise<RunningJob<Archive>> {
    refusePlan(fields, "archives.createArchive");
    const spec = { ...fields.spec, cameraIds, startTime: start && timestamp(start), endTime: end && timestamp(end) };
    return new RunningJob<Archive>(this, await this.archives.createArchive({ ...fields, spec }));
  }

  /** Starts a run of a backup policy. */
  async runPolicy(policyId: string, fields: RunFields = {}): Promise<RunningJob<BackupRun>> {
    return new RunningJob<BackupRun>(this, await this.backups.runPolicy({ ...fields, policyId }));
  }

  /** Takes up a job that was started elsewhere, by id or as an answer gave it. */
  async follow<Result = JobResult>(job: Job | string): Promise<RunningJob<Result>> {
    return new RunningJob<Result>(this, typeof job === "string" ? await this.jobs.getJob({ jobId: job }) : job);
  }
}

/** What jobs make. */
export type JobResult = Job["result"]["value"];

/** How to wait for a job. */
export interface ResultOptions {
  /** Gets each state of the job. */
  onProgress?: (job: Job) => void;
  /** When it aborts, the job is cancelled on the server, and the promise rejects with the signal's reason. */
  signal?: AbortSignal;
}

/** A job that the server works on, whether or not anybody follows it. Iterate to get each state up to the last one. */
export class RunningJob<Result> implements AsyncIterable<Job> {
  #job: Job;

  constructor(
    private readonly client: FootageClient,
    job: Job,
  ) {
    this.#job = job;
  }

  /** The job's id, for `follow`. */
  get id(): string {
    return this.#job.id;
  }

  /** The newest state that was seen. */
  get job(): Job {
    return this.#job;
  }

  [Symbol.asyncIterator](): AsyncGenerator<Job> {
    return this.states();
  }

  /** Every state from the present one to the end state; a broken stream is resumed. The signal ends it, not the job. */
  async *states(signal?: AbortSignal): AsyncGenerator<Job> {
    const patience = new Patience(this.client.settings.patienceMs);
    yield this.#job;
    while (!hasEnded(this.#job)) {
      let failure: FootageError | undefined;
      try {
        const request = { jobId: this.#job.id, afterRevision: this.#job.revision };
        for await (const { event } of this.client.jobs.watchJob(request, { signal })) {
          patience.reset();
          if (event.case === "job" && event.value.revision > this.#job.revision) {
            this.#job = event.value;
            yield this.#job;
          }
        }
      } catch (error) {
        signal?.throwIfAborted();
        failure = fromCall(error);
      }
      if (!hasEnded(this.#job)) await patience.pauseAfter(failure, signal);
    }
  }

  /** Waits for the end and returns what was made; throws JobFailedError or JobCancelledError. */
  async result({ onProgress, signal }: ResultOptions = {}): Promise<Result> {
    try {
      for await (const job of this.states(signal)) onProgress?.(job);
    } catch (error) {
      if (signal?.aborted && !hasEnded(this.#job)) await this.cancel();
      throw error;
    }
    if (this.#job.state !== JobState.SUCCEEDED) throw fromJob(this.#job);
    return this.#job.result.value as Result;
  }

  /** Asks the job to stop. */
  cancel(): Promise<Job> {
    return this.client.jobs.cancelJob({ jobId: this.id });
  }
}

/** How far a job is, in a line for people: `running · cutting · 44 % · 47.4 of 107.0 MB`. */
export function progressLine(job: Job): string {
  const { phase, fraction, bytesDone, bytesTotal } = job.progress ?? {};
  const words = [JobState[job.state]?.toLowerCase(), phase];
  if (fraction !== undefined) words.push(`${Math.round(fraction * 100)} %`);
  if (bytesTotal) words.push(`${(Number(bytesDone) / 1e6).toFixed(1)} of ${(Number(bytesTotal) / 1e6).toFixed(1)} MB`);
  return words.filter(Boolean).join(" · ");
}

/** Types keep it out of programs in TypeScript, not of those in JavaScript. */
function refusePlan(fields: object, method: string): void {
  if ((fields as { validateOnly?: boolean }).validateOnly) {
    throw new TypeError(`a plan makes no job that could be followed; call ${method}, whose answer has the plan`);
  }
}

function timestamp(moment: Moment): Timestamp {
  return moment instanceof Date ? timestampFromDate(moment) : moment;
}
