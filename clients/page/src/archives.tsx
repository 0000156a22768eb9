/** The archives that there are: download, verify, delete. */
import { useState } from "preact/hooks";
import { type Archive, ArchiveSignature, ArchiveVerdict, type ArchiveVerification, type Job, JobKind } from "@heldar/footage/proto";
import { ArchiveFacts } from "./archive_dialog.js";
import { More, useBeat, usePages } from "./lists.js";
import { Action, Badge, Empty, ErrorNote, Progress, Time, Window } from "./parts.js";
import { Download } from "./player.js";
import { footage, lastEnded } from "./server.js";
import { bytes, count } from "./words.js";

export function Archives() {
  const ended = lastEnded.value;
  const list = usePages<Archive>(
    async (pageToken, signal) => {
      const { archives, nextPageToken } = await footage.archives.listArchives({ pageToken }, { signal });
      return { rows: archives, nextPageToken };
    },
    [ended?.kind === JobKind.ARCHIVE && ended.id],
  );
  useBeat(30_000);
  return (
    <>
      <header class="view-head">
        <h1>Archives</h1>
        <p class="quiet">Several cameras in one zip that proves what it contains</p>
        <a class="button primary" href="#/timeline">
          Choose a window
        </a>
      </header>
      <ErrorNote error={list.error} again={list.again} />
      {list.value?.length === 0 && (
        <Empty title="No archives yet">
          <p>
            Choose a window of one or more cameras on the <a href="#/timeline">timeline</a> (drag across the rows, or press Shift ↓) and make an archive. Or by
            hand:
          </p>
          <pre class="command">footage archive --camera CAMERA --from 2026-11-22T10:00:00Z --to 2026-11-22T11:00:00Z --case 2026-117</pre>
        </Empty>
      )}
      <ul class="cards">
        {list.value?.map((archive) => (
          <ArchiveCard key={archive.id} archive={archive} again={list.again} />
        ))}
      </ul>
      <More more={list.more} />
    </>
  );
}

function ArchiveCard({ archive, again }: { archive: Archive; again: () => void }) {
  const [error, setError] = useState<unknown>();
  const [job, setJob] = useState<Job>();
  const [found, setFound] = useState<ArchiveVerification>();
  const name = archive.spec?.caseId ? `Case ${archive.spec.caseId}` : archive.cameras.map(({ cameraId, displayName }) => displayName || cameraId).join(", ");
  const of = `${name}, ${archive.id}`;
  const verify = async (): Promise<void> => {
    setFound(undefined);
    try {
      const begun = await footage.follow<ArchiveVerification>(await footage.archives.verifyArchive({ archiveId: archive.id, createdBy: "page" }));
      setFound(await begun.result({ onProgress: setJob }));
    } finally {
      setJob(undefined);
    }
  };
  const remove = async (): Promise<void> => {
    await footage.archives.deleteArchive({ archiveId: archive.id, etag: archive.etag });
    again();
  };
  return (
    <li class="card">
      <div class="card-what">
        <h2>{name}</h2>
        <p>
          <Window from={archive.deliveredWindow?.startTime} to={archive.deliveredWindow?.endTime} />
        </p>
        <p class="quiet">
          {count(archive.cameras.length, "camera")} · {count(archive.entryCount, "entry", "entries")} · {bytes(archive.sizeBytes)} · made{" "}
          <Time at={archive.createTime} relative />
          {archive.expireTime ? (
            <>
              {" "}
              · expires <Time at={archive.expireTime} relative />
            </>
          ) : (
            " · kept until deleted"
          )}
        </p>
        <p class="badges">
          {archive.faultCount > 0n && <Badge mood="bad">{count(archive.faultCount, "fault")}</Badge>}
          {archive.cameras.some(({ gapCount }) => gapCount > 0n) && <Badge mood="warn">gaps</Badge>}
        </p>
        <div aria-live="polite">
          {job && <Progress job={job} label={`Verifying ${of}`} />}
          {found && <Verification found={found} />}
        </div>
        <details>
          <summary>What is in it, hash and key</summary>
          <ArchiveFacts archive={archive} />
        </details>
      </div>
      <div class="actions">
        <Download what={archive} of={of} />
        <Action label="Verify" of={of} run={verify} onError={setError} />
        <Action label="Delete" of={of} class="quiet-danger" confirm="Delete this archive?" run={remove} onError={setError} />
      </div>
      <ErrorNote error={error} />
    </li>
  );
}

const signatureWords: Record<ArchiveSignature, string> = {
  [ArchiveSignature.UNSPECIFIED]: "nothing is known of its signature",
  [ArchiveSignature.VALID]: "the signature is by a key of this server",
  [ArchiveSignature.INVALID]: "the signature does not fit",
  [ArchiveSignature.MISSING]: "there is no signature",
  [ArchiveSignature.UNKNOWN_KEY]: "it is signed by a key that this server does not know",
};

function Verification({ found }: { found: ArchiveVerification }) {
  const isIntact = found.verdict === ArchiveVerdict.INTACT;
  return (
    <div class={isIntact ? "note good" : "note bad"}>
      <p>
        <strong>{isIntact ? "Intact." : "Damaged."}</strong> {count(found.entriesChecked, "entry", "entries")} and {bytes(found.bytesChecked)} were read again;{" "}
        {signatureWords[found.signature]}.
      </p>
      {found.defects.length > 0 && (
        <ul>
          {found.defects.slice(0, 20).map((defect) => (
            <li key={defect.entryName}>
              <code>{defect.entryName || "the zip's directory"}</code> {defect.message}
            </li>
          ))}
          {found.defectCount > 20n && <li>and {count(found.defectCount - 20n, "other")}</li>}
        </ul>
      )}
      {!isIntact && <p>Delete it and make it again while its recordings are there.</p>}
    </div>
  );
}
