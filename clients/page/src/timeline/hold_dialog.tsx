/** Holds recordings as evidence, or releases them. */
import { useState } from "preact/hooks";
import type { Camera } from "@heldar/footage/proto";
import { Dialog, ErrorNote } from "../parts.js";
import { footage } from "../server.js";
import { fromMs, localText } from "../times.js";
import type { Span } from "../window_fields.js";
import { cameraName, count } from "../words.js";

export function HoldDialog(props: { cameras: Camera[]; span: Span; onClose: () => void; onChanged: () => void }) {
  const [incident, setIncident] = useState("");
  const [release, setRelease] = useState(false);
  const [error, setError] = useState<unknown>();
  const [done, setDone] = useState<string>();
  const [busy, setBusy] = useState(false);

  const set = async (): Promise<void> => {
    setBusy(true);
    setError(undefined);
    setDone(undefined);
    let selected = 0n;
    try {
      for (const { id } of props.cameras) {
        const window = { cameraId: id, startTime: fromMs(props.span.from), endTime: fromMs(props.span.to) };
        const answer = await footage.catalog.setEvidenceLock({
          selection: { case: "window", value: window },
          incidentId: incident,
          release,
          allIncidents: release && incident === "",
        });
        selected += answer.segmentsSelected;
      }
      setDone(`${count(selected, "recording")} ${selected === 1n ? "is" : "are"} ${release ? "released" : "held"}.`);
    } catch (failure) {
      setError(failure);
    } finally {
      setBusy(false);
      props.onChanged();
    }
  };

  return (
    <Dialog title="Evidence" onClose={props.onClose}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void set();
        }}
      >
        <p>
          {props.cameras.map(cameraName).join(", ")}, {localText(props.span.from)} to {localText(props.span.to)}. Every recording that the window touches
          counts whole.
        </p>
        <fieldset disabled={busy} class="fields">
          <fieldset class="choice">
            <legend>What to do</legend>
            <label>
              <input type="radio" name="hold" checked={!release} onChange={() => setRelease(false)} />
              <span>
                Hold <small>marked as evidence, and never pruned by this service nor from backups</small>
              </span>
            </label>
            <label>
              <input type="radio" name="hold" checked={release} onChange={() => setRelease(true)} />
              <span>
                Release <small>of the incident named below, or of all when none is named</small>
              </span>
            </label>
          </fieldset>
          <label class="field wide">
            <span>Incident</span>
            <input maxLength={200} placeholder="such as case-17" value={incident} onInput={(event) => setIncident(event.currentTarget.value)} />
          </label>
        </fieldset>
        <ErrorNote error={error} />
        {done && (
          <p class="note good" role="status">
            {done}
          </p>
        )}
        <footer>
          <button type="submit" class={release ? "danger" : "primary"} disabled={busy}>
            {release ? "Release" : "Hold"}
          </button>
          <button type="button" onClick={props.onClose}>
            {done ? "Done" : "Close"}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}
