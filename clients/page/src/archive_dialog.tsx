/** Makes an archive of a window of several cameras: first what would be in it, then the job, then the archive. */
import { useEffect, useState } from "preact/hooks";
import { type RunningJob } from "@heldar/footage/web";
import { type Archive, ArchiveLayout, type ArchivePlan, type Camera, type Job } from "@heldar/footage/proto";
import { Badge, Dialog, Digest, ErrorNote, Fact, Progress, Window } from "./parts.js";
import { Download } from "./player.js";
import { footage } from "./server.js";
import { fromMs, lengthText, toMs } from "./times.js";
import { type Span, WindowFields } from "./window_fields.js";
import { bytes, cameraName, count, layoutWords } from "./words.js";

interface Wish {
  cameraIds: string[];
  span: Span;
  layout: ArchiveLayout;
  trim: boolean;
  evidenceOnly: boolean;
  caseId: string;
  operator: string;
  reason: string;
}

const layouts = [ArchiveLayout.SEGMENTS, ArchiveLayout.CLIPS, ArchiveLayout.SEGMENTS_AND_CLIPS];

function specOf({ cameraIds, span, ...others }: Wish) {
  return { ...others, cameraIds, startTime: fromMs(span.from), endTime: fromMs(span.to) };
}

export function ArchiveDialog(props: { cameras: Camera[]; chosenIds: string[]; span: Span; onClose: () => void }) {
  const [wish, setWish] = useState<Wish>({
    cameraIds: props.chosenIds,
    span: props.span,
    layout: ArchiveLayout.SEGMENTS,
    trim: false,
    evidenceOnly: false,
    caseId: "",
    operator: "",
    reason: "",
  });
  const [job, setJob] = useState<Job>();
  const [running, setRunning] = useState<RunningJob<Archive>>();
  const [archive, setArchive] = useState<Archive>();
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const change = (changed: Partial<Wish>): void => setWish((before) => ({ ...before, ...changed }));

  const make = async (): Promise<void> => {
    setError(undefined);
    setBusy(true);
    try {
      const begun = await footage.follow<Archive>(await footage.archives.createArchive({ spec: specOf(wish), createdBy: "page" }));
      setRunning(begun);
      setArchive(await begun.result({ onProgress: setJob }));
    } catch (failure) {
      setError(failure);
    } finally {
      setBusy(false);
      setRunning(undefined);
      setJob(undefined);
    }
  };

  if (archive) {
    return (
      <Dialog title="The archive is made" onClose={props.onClose}>
        <ArchiveFacts archive={archive} />
        <footer>
          <Download what={archive} of="the archive" />
          <button type="button" onClick={props.onClose}>
            Done
          </button>
        </footer>
      </Dialog>
    );
  }
  return (
    <Dialog title="Make an archive" onClose={props.onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void make();
        }}
      >
        <fieldset disabled={busy} class="fields">
          <fieldset class="choice cameras">
            <legend>Cameras</legend>
            {props.cameras.map((camera) => (
              <label key={camera.id}>
                <input
                  type="checkbox"
                  checked={wish.cameraIds.includes(camera.id)}
                  onChange={(event) =>
                    change({
                      cameraIds: event.currentTarget.checked ? [...wish.cameraIds, camera.id] : wish.cameraIds.filter((id) => id !== camera.id),
                    })
                  }
                />
                <span>{cameraName(camera)}</span>
              </label>
            ))}
          </fieldset>
          <WindowFields span={wish.span} onChange={(span) => change({ span })} />
          <label class="field wide">
            <span>Contents</span>
            <select value={String(wish.layout)} onChange={(event) => change({ layout: Number(event.currentTarget.value) as ArchiveLayout })}>
              {layouts.map((layout) => (
                <option key={layout} value={String(layout)}>
                  {layoutWords[layout]}
                </option>
              ))}
            </select>
          </label>
          <div class="choice">
            <label>
              <input type="checkbox" checked={wish.trim} onChange={(event) => change({ trim: event.currentTarget.checked })} />
              <span>
                Cut to the window exactly <small>else files are taken whole, as the recorder wrote them</small>
              </span>
            </label>
            <label>
              <input type="checkbox" checked={wish.evidenceOnly} onChange={(event) => change({ evidenceOnly: event.currentTarget.checked })} />
              <span>Only what is held as evidence</span>
            </label>
          </div>
          <TextField name="Case" value={wish.caseId} max={128} onChange={(caseId) => change({ caseId })} />
          <TextField name="Operator" value={wish.operator} max={128} onChange={(operator) => change({ operator })} />
          <TextField name="Reason" wide value={wish.reason} max={1024} onChange={(reason) => change({ reason })} />
        </fieldset>
        {!busy && wish.cameraIds.length > 0 && <Plan wish={wish} cameras={props.cameras} />}
        {wish.cameraIds.length === 0 && <p class="note warn">Choose at least one camera.</p>}
        <div aria-live="polite">{busy && job && <Progress job={job} label="Making the archive" />}</div>
        <ErrorNote error={error} />
        <footer>
          {busy ? (
            <button type="button" disabled={!running} onClick={() => void running?.cancel().catch(setError)}>
              Cancel the job
            </button>
          ) : (
            <button type="submit" class="primary" disabled={wish.cameraIds.length === 0} autofocus>
              Make the archive
            </button>
          )}
        </footer>
      </form>
    </Dialog>
  );
}

function TextField(props: { name: string; value: string; max: number; wide?: boolean; onChange: (value: string) => void }) {
  return (
    <label class={props.wide ? "field wide" : "field"}>
      <span>{props.name}</span>
      <input maxLength={props.max} value={props.value} onInput={(event) => props.onChange(event.currentTarget.value)} />
    </label>
  );
}

/** What the server says would be in the archive. */
function Plan({ wish, cameras }: { wish: Wish; cameras: Camera[] }) {
  const [planned, setPlanned] = useState<{ plan?: ArchivePlan; error?: unknown }>({});
  const { caseId: _case, operator: _operator, reason: _reason, ...counting } = wish;
  const key = JSON.stringify(counting);
  useEffect(() => {
    const controller = new AbortController();
    const timer = setTimeout(() => {
      footage.archives.createArchive({ spec: specOf(wish), validateOnly: true }, { signal: controller.signal }).then(
        ({ plan }) => plan.case === "archivePlan" && setPlanned({ plan: plan.value }),
        (error: unknown) => controller.signal.aborted || setPlanned({ error }),
      );
    }, 250);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [key]);
  if (planned.error !== undefined) return <ErrorNote error={planned.error} />;
  const { plan } = planned;
  if (!plan) return <p class="plan quiet">Looking what there is …</p>;
  return (
    <div class="plan" role="status">
      <p>
        {plan.sizeExact ? "" : "About "}
        <b>{bytes(plan.sizeBytes)}</b> in {count(plan.entryCount, "entry", "entries")}, from {count(plan.sourceCount, "recording")}.
      </p>
      <ul class="plain">
        {plan.cameras.map((camera) => {
          const known = cameras.find(({ id }) => id === camera.cameraId);
          return (
            <li key={camera.cameraId}>
              {known ? cameraName(known) : camera.cameraId}:{" "}
              {camera.segmentCount === 0n ? "nothing recorded" : `${camera.covered ? lengthText(toMs(camera.covered)) : ""}, ${bytes(camera.sizeBytes)}`}{" "}
              {camera.gapCount > 0n && <Badge mood="warn">{count(camera.gapCount, "gap")}</Badge>}
            </li>
          );
        })}
      </ul>
      <Faults faults={plan.faults} total={plan.faultCount} />
    </div>
  );
}

/** Recordings that are not in an archive, or not whole. */
export function Faults({ faults, total }: { faults: Archive["faults"]; total: bigint }) {
  if (total === 0n) return null;
  return (
    <details class="faults">
      <summary>
        <Badge mood="bad">{count(total, "recording")}</Badge> missing or not whole
      </summary>
      <ul>
        {faults.map((fault) => (
          <li key={fault.segmentId}>
            <code>{fault.entryName || fault.segmentId}</code> {fault.message}
          </li>
        ))}
        {total > BigInt(faults.length) && <li>and {count(total - BigInt(faults.length), "other")}; the manifest has all</li>}
      </ul>
    </details>
  );
}

/** What is known of an archive. */
export function ArchiveFacts({ archive }: { archive: Archive }) {
  const { spec } = archive;
  return (
    <dl class="facts">
      {spec?.caseId && <Fact name="Case">{spec.caseId}</Fact>}
      {spec?.operator && <Fact name="Operator">{spec.operator}</Fact>}
      {spec?.reason && <Fact name="Reason">{spec.reason}</Fact>}
      <Fact name="Delivered">
        <Window from={archive.deliveredWindow?.startTime} to={archive.deliveredWindow?.endTime} />
      </Fact>
      <Fact name="Cameras">
        <ul class="plain">
          {archive.cameras.map((camera) => (
            <li key={camera.cameraId}>
              {camera.displayName || camera.cameraId}:{" "}
              {camera.segmentCount === 0n ? "nothing recorded" : `${camera.covered ? lengthText(toMs(camera.covered)) : ""}, ${bytes(camera.sizeBytes)}`}{" "}
              {camera.gapCount > 0n && <Badge mood="warn">{count(camera.gapCount, "gap")}</Badge>}
            </li>
          ))}
        </ul>
      </Fact>
      <Fact name="Size">
        {bytes(archive.sizeBytes)} in {count(archive.entryCount, "entry", "entries")}, {spec && layoutWords[spec.layout]}
        {spec?.trim && ", cut to the window"}
      </Fact>
      {archive.faultCount > 0n && (
        <Fact name="Faults">
          <Faults faults={archive.faults} total={archive.faultCount} />
        </Fact>
      )}
      <Fact name="SHA-256">
        <Digest hex={archive.sha256} />
      </Fact>
      <Fact name="Signed by">
        <Digest hex={archive.signingKeyFingerprint} name="the fingerprint" />
      </Fact>
    </dl>
  );
}
