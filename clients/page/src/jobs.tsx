/** All jobs, live: what is running first, then what waits, then what has ended. */
import { useState } from "preact/hooks";
import { fromJob, fromStatus } from "@heldar/footage/web";
import { ArchiveVerdict, type Clip, type Job, JobKind, JobState } from "@heldar/footage/proto";
import { explain } from "./advice.js";
import { ClipPlayer } from "./clips.js";
import { useBeat } from "./lists.js";
import { Action, Badge, Empty, ErrorNote, Progress, Time } from "./parts.js";
import { connection, footage, jobs } from "./server.js";
import { lengthText, toMs } from "./times.js";
import { bytes, count, hasEnded, kindWords, labelText, stateWords } from "./words.js";

const shownFirst = 100;
const order: Record<JobState, number> = {
  [JobState.RUNNING]: 0,
  [JobState.CANCELLING]: 0,
  [JobState.QUEUED]: 1,
  [JobState.SUCCEEDED]: 2,
  [JobState.FAILED]: 2,
  [JobState.CANCELLED]: 2,
  [JobState.UNSPECIFIED]: 3,
};

/** Running first, then waiting, then ended; the newest of each first. */
export function sorted(list: Iterable<Job>): Job[] {
  const newest = (job: Job): number => (job.endTime ? toMs(job.endTime) : job.createTime ? toMs(job.createTime) : 0);
  return [...list].sort((one, other) => order[one.state] - order[other.state] || newest(other) - newest(one) || (one.id < other.id ? 1 : -1));
}

export function Jobs() {
  const [kind, setKind] = useState<JobKind>(JobKind.UNSPECIFIED);
  const [shown, setShown] = useState(shownFirst);
  const [playing, setPlaying] = useState<Clip>();
  useBeat(30_000);
  const all = sorted(jobs.value.values()).filter((job) => kind === JobKind.UNSPECIFIED || job.kind === kind);
  const open = all.filter((job) => !hasEnded(job)).length;
  return (
    <>
      <header class="view-head">
        <h1>Jobs</h1>
        <p class="quiet" role="status">
          {open === 0 ? "none running" : `${open} running or waiting`}
        </p>
        <label class="filter">
          <span>Kind</span>
          <select value={String(kind)} onChange={(event) => setKind(Number(event.currentTarget.value) as JobKind)}>
            <option value="0">all</option>
            {[JobKind.CLIP, JobKind.ARCHIVE, JobKind.BACKUP, JobKind.VERIFY, JobKind.RESTORE, JobKind.IMPORT].map((each) => (
              <option key={each} value={String(each)}>
                {kindWords[each]}
              </option>
            ))}
          </select>
        </label>
      </header>
      {all.length === 0 && connection.value.state === "connected" && (
        <Empty title="No jobs">
          <p>
            Clips, archives, backups and imports are jobs. Make a clip on the <a href="#/timeline">timeline</a>, and it shows here while it runs.
          </p>
        </Empty>
      )}
      <ul class="cards">
        {all.slice(0, shown).map((job) => (
          <JobCard key={job.id} job={job} onPlay={setPlaying} />
        ))}
      </ul>
      {all.length > shown && (
        <p class="more">
          <button type="button" onClick={() => setShown(shown + shownFirst)}>
            Show more
          </button>
        </p>
      )}
      {playing && <ClipPlayer clip={playing} onClose={() => setPlaying(undefined)} />}
    </>
  );
}

export function StateBadge({ job }: { job: Job }) {
  const moods = {
    [JobState.UNSPECIFIED]: "plain",
    [JobState.QUEUED]: "plain",
    [JobState.RUNNING]: "busy",
    [JobState.CANCELLING]: "warn",
    [JobState.SUCCEEDED]: "good",
    [JobState.FAILED]: "bad",
    [JobState.CANCELLED]: "plain",
  } as const;
  return <Badge mood={moods[job.state]}>{stateWords[job.state]}</Badge>;
}

export function JobCard({ job, about, onPlay }: { job: Job; about?: string; onPlay?: (clip: Clip) => void }) {
  const [error, setError] = useState<unknown>();
  const label = [about ?? job.destinationId, labelText(job.labels)].filter(Boolean).join(" · ");
  const name = `${kindWords[job.kind]}${job.cameraId ? ` of ${job.cameraId}` : ""}`;
  const of = `${name}, ${job.id}`;
  const isOpen = !hasEnded(job);
  return (
    <li class="card" data-job={job.id}>
      <div class="card-what">
        <h2>
          {name} {label && <span class="label">{label}</span>} <StateBadge job={job} />
        </h2>
        {isOpen ? <Progress job={job} label={of} /> : <JobEnd job={job} />}
        <p class="quiet">
          {job.createdBy && <>asked for by {job.createdBy} · </>}
          {isOpen ? (
            <>
              written <Time at={job.createTime} relative />
            </>
          ) : (
            <>
              ended <Time at={job.endTime} relative />
              {job.startTime && job.endTime && <> after {lengthText(toMs(job.endTime) - toMs(job.startTime))}</>}
            </>
          )}
          {job.attempt > 1 && (
            <>
              {" "}
              · attempt {job.attempt} of {job.maxAttempts}
            </>
          )}
          {job.nextAttemptTime && job.state === JobState.QUEUED && (
            <>
              {" "}
              · tried again <Time at={job.nextAttemptTime} relative />
            </>
          )}{" "}
          · <code class="id">{job.id}</code>
        </p>
        <Warnings job={job} />
      </div>
      <div class="actions">
        {job.result.case === "clip" && onPlay && <PlayResult clip={job.result.value} onPlay={onPlay} onError={setError} of={of} />}
        {job.result.case === "archive" && (
          <a class="button" href="#/archives">
            Archives
          </a>
        )}
        {isOpen && job.state !== JobState.CANCELLING && (
          <Action label="Cancel" of={of} run={() => footage.jobs.cancelJob({ jobId: job.id })} onError={setError} />
        )}
        {(job.state === JobState.FAILED || job.state === JobState.CANCELLED) && (
          <Action label="Retry" of={of} run={() => footage.jobs.retryJob({ jobId: job.id })} onError={setError} />
        )}
      </div>
      <ErrorNote error={error} />
    </li>
  );
}

/** The clip as it is now: it may have gone, or have become a file, since the job ended. */
function PlayResult(props: { clip: Clip; of: string; onPlay: (clip: Clip) => void; onError: (error: unknown) => void }) {
  return (
    <Action
      label="Play"
      of={props.of}
      class="primary"
      run={async () => props.onPlay(await footage.clips.getClip({ clipId: props.clip.id }))}
      onError={props.onError}
    />
  );
}

/** What came of a job that has ended. */
function JobEnd({ job }: { job: Job }) {
  if (job.state === JobState.FAILED) {
    const { message, reason, next } = explain(fromJob(job));
    return (
      <p class="failure">
        <strong>{message}</strong> {reason && <code>{reason}</code>} <span>{next}</span>
      </p>
    );
  }
  const text = resultText(job);
  return text ? <p>{text}</p> : null;
}

function resultText({ result }: Job): string {
  switch (result.case) {
    case "clip":
      return `${result.value.duration ? lengthText(toMs(result.value.duration)) : ""}, ${bytes(result.value.sizeBytes)}${result.value.virtual ? ", virtual" : ""}`;
    case "archive":
      return `${count(result.value.entryCount, "entry", "entries")}, ${bytes(result.value.sizeBytes)}${result.value.faultCount > 0n ? `, ${count(result.value.faultCount, "fault")}` : ""}`;
    case "backup": {
      const { nothingToDo, filesSent, bytesSent, filesFailed, filesRemoved } = result.value;
      if (nothingToDo) return "everything was there already";
      const removed = filesRemoved > 0n ? `, ${count(filesRemoved, "file")} removed by retention` : "";
      return `${count(filesSent, "file")} sent, ${bytes(bytesSent)}${filesFailed > 0n ? `, ${count(filesFailed, "file")} not sent` : ""}${removed}`;
    }
    case "archiveVerification":
      return result.value.verdict === ArchiveVerdict.INTACT
        ? `intact: ${count(result.value.entriesChecked, "entry", "entries")} checked`
        : `damaged: ${count(result.value.defectCount, "defect")}`;
    case "backupVerification":
      return result.value.intact
        ? `intact: ${count(result.value.objectsChecked, "object")} checked`
        : `not intact: ${result.value.objectsMissing} missing, ${result.value.objectsChanged} changed, ${result.value.objectsUnreadable} unreadable`;
    case "restore":
      return `${count(result.value.filesRestored, "file")} brought back, ${bytes(result.value.bytesRestored)}`;
    case "import":
      return `${count(result.value.segmentsAdded, "segment")} added, ${result.value.segmentsUpdated} updated, ${result.value.segmentsUnchanged} unchanged`;
    default:
      return "";
  }
}

function Warnings({ job }: { job: Job }) {
  if (job.warnings.length === 0) return null;
  return (
    <ul class="plain warnings">
      {job.warnings.map((warning, number) => {
        const { message, reason } = explain(fromStatus(warning));
        return (
          <li key={number}>
            <Badge mood="warn">{reason || "warning"}</Badge> {message}
          </li>
        );
      })}
    </ul>
  );
}
