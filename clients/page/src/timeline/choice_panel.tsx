/** What is chosen, exactly, and what can be made of it. */
import type { Camera } from "@heldar/footage/proto";
import { Window } from "../parts.js";
import { fromMs, lengthText } from "../times.js";
import { WindowFields } from "../window_fields.js";
import { cameraName } from "../words.js";
import { choice, chosenCameras, cursor, showRecorded, view } from "./state.js";
import { around } from "./axis.js";

export function ChoicePanel(props: { cameras: Camera[]; onClip: () => void; onArchive: () => void; onHold: () => void }) {
  const chosen = choice.value;
  if (!chosen) {
    return (
      <section class="choice-panel hint" aria-label="Chosen window">
        <p>
          <b>Drag over a camera</b> to choose a window, or press <kbd>Shift</kbd> <kbd>→</kbd> on the timeline. Then make a clip or an archive of it.
        </p>
      </section>
    );
  }
  const cameras = chosenCameras(props.cameras);
  const first = props.cameras[chosen.row];
  const isEmpty = chosen.span.to <= chosen.span.from;
  return (
    <section class="choice-panel" aria-label="Chosen window">
      <div class="what">
        <b>{cameras.length > 1 ? `${cameras.length} cameras` : first && cameraName(first)}</b>
        <span>{isEmpty ? "The end must be later than the beginning" : lengthText(chosen.span.to - chosen.span.from)}</span>
      </div>
      <p class="exact">
        <Window from={fromMs(chosen.span.from)} to={fromMs(chosen.span.to)} fraction />
      </p>
      <WindowFields
        span={chosen.span}
        onChange={(span) => {
          choice.value = { ...chosen, span };
          cursor.value = span.to;
          if (view.value && span.to > span.from && (span.from < view.value.from || span.to > view.value.to)) view.value = around(span.from, span.to);
        }}
      />
      <div class="actions">
        <button type="button" class="primary" disabled={isEmpty} onClick={props.onClip}>
          Make clip
        </button>
        <button type="button" disabled={isEmpty} onClick={props.onArchive}>
          Make archive
        </button>
        <button type="button" disabled={isEmpty} onClick={props.onHold}>
          Evidence
        </button>
        <button
          type="button"
          disabled={isEmpty}
          onClick={() => {
            view.value = around(chosen.span.from, chosen.span.to);
          }}
        >
          Zoom to it
        </button>
        <button
          type="button"
          onClick={() => {
            choice.value = undefined;
            if (!view.value) showRecorded(props.cameras);
          }}
        >
          Clear
        </button>
      </div>
    </section>
  );
}
