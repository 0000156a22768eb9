/** Makes a clip of a window: what it would be, how far it is, and then the clip. */
import { useEffect, useState } from "preact/hooks";
import { type RunningJob } from "@heldar/footage/web";
import { type Camera, type Clip, ClipEngine, GapMode, type Job } from "@heldar/footage/proto";
import { Badge, Dialog, ErrorNote, Progress, Window } from "./parts.js";
import { ClipFacts, Download, Player } from "./player.js";
import { footage } from "./server.js";
import { fromMs, lengthText, toMs } from "./times.js";
import { type Span, WindowFields } from "./window_fields.js";
import { bytes, cameraName, count, gapWords, labelKey } from "./words.js";

interface Wish {
  cameraId: string;
  span: Span;
  label: string;
  isVirtual: boolean;
  holds: boolean;
  gapMode: GapMode;
}

function labelsOf(label: string): Record<string, string> {
  return label ? { [labelKey]: label } : {};
}

function fields(wish: Wish) {
  return {
    engine: ClipEngine.AUTO,
    gapMode: wish.gapMode,
    virtual: wish.isVirtual,
    holdSources: wish.isVirtual && wish.holds,
    labels: labelsOf(wish.label),
    createdBy: "page",
  };
}

export function ClipDialog(props: { cameras: Camera[]; cameraId: string; span: Span; onClose: () => void }) {
  const [wish, setWish] = useState<Wish>({
    cameraId: props.cameraId,
    span: props.span,
    label: "",
    isVirtual: false,
    holds: false,
    gapMode: GapMode.CLOSE,
  });
  const [job, setJob] = useState<Job>();
  const [running, setRunning] = useState<RunningJob<Clip>>();
  const [clip, setClip] = useState<Clip>();
  const [error, setError] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const change = (changed: Partial<Wish>): void => setWish((before) => ({ ...before, ...changed }));

  const make = async (): Promise<void> => {
    setError(undefined);
    setBusy(true);
    try {
      const begun = await footage.createClip(wish.cameraId, new Date(wish.span.from), new Date(wish.span.to), fields(wish));
      setRunning(begun);
      setClip(await begun.result({ onProgress: setJob }));
    } catch (failure) {
      setError(failure);
    } finally {
      setBusy(false);
      setRunning(undefined);
      setJob(undefined);
    }
  };

  if (clip) {
    return (
      <Dialog title={`Clip of ${clip.cameraId}`} wide onClose={props.onClose}>
        <Player clip={clip} />
        <ClipFacts clip={clip} />
        <footer>
          <Download what={clip} of="the clip" />
          <button type="button" onClick={props.onClose}>
            Done
          </button>
        </footer>
      </Dialog>
    );
  }
  return (
    <Dialog title="Make a clip" onClose={props.onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void make();
        }}
      >
        <fieldset disabled={busy} class="fields">
          <label class="field">
            <span>Camera</span>
            <select value={wish.cameraId} onChange={(event) => change({ cameraId: event.currentTarget.value })}>
              {props.cameras.map((camera) => (
                <option key={camera.id} value={camera.id}>
                  {cameraName(camera)}
                </option>
              ))}
            </select>
          </label>
          <WindowFields span={wish.span} onChange={(span) => change({ span })} />
          <label class="field wide">
            <span>Label</span>
            <input
              maxLength={255}
              placeholder="what it shows, for the list of clips"
              value={wish.label}
              onInput={(event) => change({ label: event.currentTarget.value })}
            />
          </label>
          <fieldset class="choice">
            <legend>Form</legend>
            <label>
              <input type="radio" name="form" checked={!wish.isVirtual} onChange={() => change({ isVirtual: false })} />
              <span>
                A file <small>stays when the recorder deletes its recordings</small>
              </span>
            </label>
            <label>
              <input type="radio" name="form" checked={wish.isVirtual} onChange={() => change({ isVirtual: true })} />
              <span>
                Virtual <small>at once and without taking space, read from the recordings when it is fetched</small>
              </span>
            </label>
            {wish.isVirtual && (
              <label class="below">
                <input type="checkbox" checked={wish.holds} onChange={(event) => change({ holds: event.currentTarget.checked })} />
                <span>Keep its recordings as long as the clip</span>
              </label>
            )}
          </fieldset>
          <fieldset class="choice">
            <legend>Where nothing was recorded</legend>
            <label>
              <input type="radio" name="gaps" checked={wish.gapMode === GapMode.CLOSE} onChange={() => change({ gapMode: GapMode.CLOSE })} />
              <span>Go on with what comes next</span>
            </label>
            <label>
              <input type="radio" name="gaps" checked={wish.gapMode === GapMode.KEEP} onChange={() => change({ gapMode: GapMode.KEEP })} />
              <span>Keep the last picture for as long as the gap</span>
            </label>
          </fieldset>
        </fieldset>
        {!busy && <Plan wish={wish} />}
        <div aria-live="polite">{busy && job && <Progress job={job} label="Making the clip" />}</div>
        <ErrorNote error={error} />
        <footer>
          {busy ? (
            <button type="button" disabled={!running} onClick={() => void running?.cancel().catch(setError)}>
              Cancel the job
            </button>
          ) : (
            <button type="submit" class="primary" autofocus>
              Make the clip
            </button>
          )}
        </footer>
      </form>
    </Dialog>
  );
}

/** What the server says the clip would be. */
function Plan({ wish }: { wish: Wish }) {
  const [planned, setPlanned] = useState<{ job?: Job; error?: unknown }>({});
  const key = JSON.stringify(wish);
  useEffect(() => {
    const controller = new AbortController();
    const timer = setTimeout(() => {
      const request = {
        ...fields(wish),
        cameraId: wish.cameraId,
        startTime: fromMs(wish.span.from),
        endTime: fromMs(wish.span.to),
        validateOnly: true,
      };
      footage.clips.createClip(request, { signal: controller.signal }).then(
        (job) => setPlanned({ job }),
        (error: unknown) => controller.signal.aborted || setPlanned({ error }),
      );
    }, 200);
    return () => {
      clearTimeout(timer);
      controller.abort();
    };
  }, [key]);
  if (planned.error !== undefined) return <ErrorNote error={planned.error} />;
  if (planned.job?.plan.case !== "clipPlan") return <p class="plan quiet">Looking what there is …</p>;
  const plan = planned.job.plan.value;
  return (
    <div class="plan" role="status">
      <p>
        <b>{plan.covered && lengthText(toMs(plan.covered))}</b> of {plan.requested && lengthText(toMs(plan.requested))} recorded, in{" "}
        {count(plan.segments.length, "file")}; about <b>{bytes(plan.expectedBytes)}</b>
        {wish.isVirtual && " that are made while they are fetched"}.
      </p>
      {plan.engineReason && <p class="quiet">ffmpeg is needed, because {plan.engineReason}.</p>}
      {plan.gaps.length > 0 && (
        <ul class="plain">
          {plan.gaps.slice(0, 5).map((gap) => (
            <li key={String(gap.startTime && toMs(gap.startTime))}>
              <Badge mood="warn">{gapWords[gap.reason]}</Badge> <Window from={gap.startTime} to={gap.endTime} />
            </li>
          ))}
          {plan.gaps.length > 5 && <li class="quiet">and {count(plan.gaps.length - 5, "gap")} more</li>}
        </ul>
      )}
    </div>
  );
}
