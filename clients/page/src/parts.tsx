/** What every view is made of. */
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Job } from "@heldar/footage/proto";
import { JobState } from "@heldar/footage/proto";
import { explain, wantsToken } from "./advice.js";
import { connection, returns } from "./server.js";
import { fromNow, localText, type Moment, toMs, utcText } from "./times.js";
import { progressText, stateWords } from "./words.js";

/** What a view reads from the server. */
export interface Reading<T> {
  /** The newest answer; it stays while the next one is awaited. */
  value: T | undefined;
  error: unknown;
  again: () => void;
}

/** Reads when it is first shown, when something in `whenever` changes, and when the server is back. */
export function useReading<T>(read: (signal: AbortSignal) => Promise<T>, whenever: unknown[] = []): Reading<T> {
  const [answer, setAnswer] = useState<{ value?: T; error?: unknown }>({});
  const [round, setRound] = useState(0);
  useEffect(() => {
    const controller = new AbortController();
    read(controller.signal).then(
      (value) => controller.signal.aborted || setAnswer({ value }),
      (error: unknown) => {
        if (controller.signal.aborted) return;
        if (wantsToken(error)) connection.value = { state: "locked" };
        setAnswer((before) => ({ value: before.value, error }));
      },
    );
    return () => controller.abort();
  }, [round, returns.value, ...whenever]);
  return { value: answer.value, error: answer.error, again: () => setRound((before) => before + 1) };
}

/** An error with what to do next. */
export function ErrorNote({ error, again }: { error: unknown; again?: () => void }) {
  if (error === undefined) return null;
  const { message, reason, fields, next } = explain(error);
  return (
    <div class="note bad" role="alert">
      <p>
        <strong>{message}</strong>
      </p>
      {fields.length > 0 && (
        <ul>
          {fields.map(({ field, description }) => (
            <li key={field}>
              <code>{field}</code> {description}
            </li>
          ))}
        </ul>
      )}
      <p>
        {next} {reason && <code class="quiet">{reason}</code>}
      </p>
      {again && (
        <button type="button" onClick={again}>
          Try again
        </button>
      )}
    </div>
  );
}

/** A button that does something on the server: not twice at a time, and what fails is said beside it. */
export function Action(props: {
  label: string;
  /** What a screen reader says, where the label alone does not say of what. */
  of?: string;
  run: () => Promise<unknown>;
  class?: string;
  /** Asked first; the action is done only when it is confirmed. */
  confirm?: string;
  onError?: (error: unknown) => void;
}) {
  const [busy, setBusy] = useState(false);
  const [asking, setAsking] = useState(false);
  const confirmButton = useRef<HTMLButtonElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const wasAsking = useRef(false);
  useEffect(() => {
    if (asking) confirmButton.current?.focus();
    else if (wasAsking.current) button.current?.focus();
    wasAsking.current = asking;
  }, [asking]);
  const run = async (): Promise<void> => {
    setAsking(false);
    setBusy(true);
    props.onError?.(undefined);
    try {
      await props.run();
    } catch (error) {
      props.onError?.(error);
    } finally {
      setBusy(false);
    }
  };
  const spoken = props.of ? `${props.label} ${props.of}` : undefined;
  if (asking) {
    return (
      <span class="asking" role="group" aria-label={props.confirm}>
        <span>{props.confirm}</span>
        <button type="button" class="danger" ref={confirmButton} onClick={() => void run()}>
          {props.label}
        </button>
        <button type="button" onClick={() => setAsking(false)}>
          Keep
        </button>
      </span>
    );
  }
  return (
    <button
      type="button"
      ref={button}
      class={props.class}
      aria-label={spoken}
      disabled={busy}
      aria-busy={busy}
      onClick={() => (props.confirm ? setAsking(true) : void run())}
    >
      {props.label}
    </button>
  );
}

/** A moment on the clock of this browser, its UTC on hover. */
export function Time({ at, fraction, relative }: { at: Moment | undefined; fraction?: boolean; relative?: boolean }) {
  if (!at) return <span class="quiet">never</span>;
  const ms = toMs(at);
  return (
    <time dateTime={new Date(ms).toISOString()} title={relative ? `${localText(ms)}\n${utcText(ms)}` : utcText(ms)}>
      {relative ? fromNow(ms) : localText(ms, fraction)}
    </time>
  );
}

/** A window; the day is said twice only when there are two. */
export function Window({ from, to, fraction }: { from: Moment | undefined; to: Moment | undefined; fraction?: boolean }) {
  if (!from || !to) return <span class="quiet">nothing</span>;
  const [begin, end] = [localText(toMs(from), fraction), localText(toMs(to), fraction)];
  const shownEnd = begin.slice(0, 10) === end.slice(0, 10) ? end.slice(11) : end;
  return (
    <span class="window">
      <time dateTime={new Date(toMs(from)).toISOString()} title={utcText(toMs(from))}>
        {begin}
      </time>
      {" – "}
      <time dateTime={new Date(toMs(to)).toISOString()} title={utcText(toMs(to))}>
        {shownEnd}
      </time>
    </span>
  );
}

/** How far a job is. */
export function Progress({ job, label }: { job: Job; label: string }) {
  const { fraction } = job.progress ?? {};
  const words = job.state === JobState.RUNNING ? progressText(job.progress) : stateWords[job.state];
  return (
    <div class="progress">
      <progress
        aria-label={label}
        aria-valuetext={words}
        {...(fraction === undefined ? {} : { value: fraction, max: 1 })}
      />
      <span class="words">
        {fraction !== undefined && <b>{Math.floor(fraction * 100)} %</b>} {words}
      </span>
    </div>
  );
}

/** A word about a state, coloured by what it means; the colour is never all that tells. */
export function Badge({ mood, children }: { mood: "good" | "bad" | "warn" | "busy" | "plain"; children: ComponentChildren }) {
  return <span class={`badge ${mood}`}>{children}</span>;
}

/** What is said where there is nothing yet, and how to get something. */
export function Empty({ title, children }: { title: string; children: ComponentChildren }) {
  return (
    <div class="empty">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

/** A line for a shell, to be copied. */
export function Command({ text }: { text: string }) {
  return (
    <div class="command">
      <pre tabIndex={0}>{text}</pre>
      <Copy text={text} of="the command" />
    </div>
  );
}

/** Puts a text on the clipboard, where the browser lets pages do so. */
export function Copy({ text, of }: { text: string; of: string }) {
  const [done, setDone] = useState(false);
  if (!navigator.clipboard) return null;
  const copy = async (): Promise<void> => {
    await navigator.clipboard.writeText(text);
    setDone(true);
    setTimeout(() => setDone(false), 2000);
  };
  return (
    <button type="button" class="small" aria-label={`Copy ${of}`} onClick={() => void copy().catch(() => undefined)}>
      {done ? "Copied" : "Copy"}
    </button>
  );
}

/** A digest, whole for copying and short to look at. */
export function Digest({ hex, name = "SHA-256" }: { hex: string; name?: string }) {
  return (
    <span class="digest">
      <code title={hex}>{hex}</code>
      <Copy text={hex} of={name} />
    </span>
  );
}

/** A dialog over the page; Escape closes it. */
export function Dialog(props: { title: string; wide?: boolean; onClose: () => void; children: ComponentChildren }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    dialog.current?.showModal();
    return () => before?.focus();
  }, []);
  return (
    <dialog
      ref={dialog}
      class={props.wide ? "wide" : ""}
      aria-labelledby="dialog-title"
      onClose={props.onClose}
      onCancel={(event) => event.target === dialog.current && props.onClose()}
      onMouseDown={(event) => event.target === dialog.current && props.onClose()}
    >
      <div class="dialog">
        <header>
          <h2 id="dialog-title">{props.title}</h2>
          <button type="button" class="small" aria-label="Close" onClick={props.onClose}>
            ✕
          </button>
        </header>
        {props.children}
      </div>
    </dialog>
  );
}

/** One fact of a list of facts. */
export function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div class="fact">
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
