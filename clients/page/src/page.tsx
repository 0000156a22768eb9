/** The page: which view is shown, and whether the server is there. */
import { render } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { effect, signal } from "@preact/signals";
import { Archives } from "./archives.js";
import { Backups } from "./backups.js";
import { Clips } from "./clips.js";
import { Jobs } from "./jobs.js";
import { alerts, connection, follow, jobs, retryNow, useToken } from "./server.js";
import { Timeline } from "./timeline/view.js";
import { zoneName } from "./times.js";
import { hasEnded } from "./words.js";

const views = {
  timeline: { name: "Timeline", View: TimelineView },
  clips: { name: "Clips", View: Clips },
  jobs: { name: "Jobs", View: Jobs },
  archives: { name: "Archives", View: Archives },
  backups: { name: "Backups", View: Backups },
} as const;
type ViewId = keyof typeof views;

/** The view that the address names. */
const shown = signal<ViewId>(named());

function named(): ViewId {
  const id = location.hash.replace(/^#\//, "");
  return id in views ? (id as ViewId) : "timeline";
}

function TimelineView() {
  return (
    <>
      <header class="view-head">
        <h1>Timeline</h1>
        <p class="quiet">Times of {zoneName()}; UTC on hover</p>
      </header>
      <Timeline />
    </>
  );
}

function Page() {
  const { View, name } = views[shown.value];
  const open = [...jobs.value.values()].filter((job) => !hasEnded(job)).length;
  const main = useRef<HTMLElement>(null);
  useEffect(() => {
    document.title = `${open > 0 ? `(${open}) ` : ""}${name} – Footage`;
  }, [name, open]);
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), main.current?.focus())}>
        To the contents
      </a>
      <header class="page-head">
        <a class="brand" href="#/timeline">
          <img src={document.querySelector<HTMLLinkElement>("link[rel=icon]")?.href} alt="" width={24} height={24} />
          Footage
        </a>
        <nav aria-label="Views">
          {(Object.keys(views) as ViewId[]).map((id) => (
            <a key={id} href={`#/${id}`} aria-current={shown.value === id ? "page" : undefined}>
              {views[id].name}
              {id === "jobs" && open > 0 && <span class="number busy" aria-label={`${open} not ended`}>{open}</span>}
              {id === "backups" && alerts.value.length > 0 && <span class="number bad" aria-label={`${alerts.value.length} alerts`}>{alerts.value.length}</span>}
            </a>
          ))}
        </nav>
        <ConnectionState />
      </header>
      <Away />
      <main id="main" ref={main} tabIndex={-1}>
        {connection.value.state === "locked" ? <TokenForm /> : <View />}
      </main>
    </>
  );
}

function ConnectionState() {
  const words = { connecting: "connecting", connected: "live", away: "disconnected", locked: "locked" } as const;
  const { state } = connection.value;
  return (
    <p class={`connection ${state}`} role="status">
      <i aria-hidden="true" /> {words[state]}
    </p>
  );
}

/** Says that the server is away; what is shown meanwhile is what was last known. */
function Away() {
  const present = connection.value;
  const [now, setNow] = useState(Date.now());
  const isAway = present.state === "away";
  useEffect(() => {
    if (!isAway) return undefined;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), 500);
    return () => clearInterval(timer);
  }, [isAway]);
  if (present.state !== "away") return null;
  const seconds = Math.max(0, Math.ceil((present.retryAt - now) / 1000));
  return (
    <div class="away" role="alert">
      <p>
        <strong>The server is not reachable.</strong> What you see is what was last known; jobs go on without this page.{" "}
        <span class="quiet" aria-hidden="true">
          {seconds > 0 ? `Trying again in ${seconds} s` : "Trying"} …
        </span>
      </p>
      <button type="button" title={present.why} onClick={retryNow}>
        Try now
      </button>
    </div>
  );
}

function TokenForm() {
  const [value, setValue] = useState("");
  return (
    <form
      class="empty token"
      onSubmit={(event) => {
        event.preventDefault();
        useToken(value.trim());
      }}
    >
      <h1>A token is needed</h1>
      <p>The proxy before this server lets nobody in without one. It stays in this window only, until that is closed.</p>
      <label class="field wide">
        <span>Token</span>
        <input type="password" autocomplete="off" required value={value} onInput={(event) => setValue(event.currentTarget.value)} autofocus />
      </label>
      <button type="submit" class="primary">
        Use it
      </button>
    </form>
  );
}

addEventListener("hashchange", () => {
  shown.value = named();
});
effect(() => {
  document.documentElement.dataset["view"] = shown.value;
});
render(<Page />, document.body);
void follow();
