/** Beginning and end of a window, as two fields on the clock of this browser. */
import { useEffect, useState } from "preact/hooks";
import { inputMoment, inputValue, utcText } from "./times.js";

export interface Span {
  from: number;
  to: number;
}

export function WindowFields({ span, onChange }: { span: Span; onChange: (span: Span) => void }) {
  return (
    <>
      <MomentField name="From" ms={span.from} onChange={(from) => onChange({ ...span, from })} />
      <MomentField name="To" ms={span.to} onChange={(to) => onChange({ ...span, to })} />
    </>
  );
}

function MomentField({ name, ms, onChange }: { name: string; ms: number; onChange: (ms: number) => void }) {
  const [typed, setTyped] = useState(inputValue(ms));
  // What is typed may be no moment yet; a moment that comes from elsewhere replaces it.
  useEffect(() => {
    if (inputMoment(typed) !== Math.round(ms)) setTyped(inputValue(ms));
  }, [ms]);
  return (
    <label class="field" title={utcText(ms)}>
      <span>{name}</span>
      <input
        type="datetime-local"
        step="0.001"
        required
        value={typed}
        onInput={(event) => {
          setTyped(event.currentTarget.value);
          const moment = inputMoment(event.currentTarget.value);
          if (moment !== undefined) onChange(moment);
        }}
      />
    </label>
  );
}
