// The page in real Chromium against the real server, with what a person does: mouse, keys, waiting, reading.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { nodeClient, webClientScript } from "./clients.mjs";
import { Proxy } from "./proxy.mjs";
import { begin, browser, Server } from "./site.mjs";

const screenshots = fileURLToPath(new URL("../../../target/page-screenshots", import.meta.url));
const minuteMs = 60_000;
/** The longest that anything may take; far longer than it does. */
const patienceMs = 20_000;

let chromium;
let server;
let contract;
let footage;

before(async () => {
  [chromium, server, contract] = await Promise.all([browser(), Server.start(), nodeClient()]);
  footage = new contract.Footage(server.url);
  await imported();
  await footage.catalog.upsertCamera({ camera: { id: "gate_a_01", displayName: "Gate A" } });
  await makeBackups();
  mkdirSync(screenshots, { recursive: true });
});

after(async () => {
  footage?.close();
  await chromium?.close();
  await server?.close();
});

/** Waits until a condition holds. */
async function until(holds, what) {
  const end = Date.now() + patienceMs;
  for (;;) {
    const found = await holds();
    if (found) return found;
    assert(Date.now() < end, `not within ${patienceMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** A destination that works, and one whose runs fail because nothing is mounted there. */
async function makeBackups() {
  const policies = {
    nas: { displayName: "nightly", schedule: { case: "cron", value: { expression: "30 2 * * *", timeZone: "Europe/Berlin" } } },
    usb: { displayName: "to the disk", schedule: { case: "interval", value: { seconds: 86_400n } } },
  };
  for (const [name, policy] of Object.entries(policies)) {
    const path = join(server.folder, "backups", name);
    mkdirSync(path);
    const settings = { case: "local", value: { path, requireMount: name === "usb" } };
    await footage.backups.createDestination({ destinationId: `bkd_${name}`, destination: { displayName: name.toUpperCase(), settings } });
    await footage.backups.createPolicy({ policy: { ...policy, destinationId: `bkd_${name}`, cameraIds: ["lobby_03"] } });
  }
}

async function imported() {
  await until(async () => {
    const { jobs } = await footage.jobs.listJobs({ filter: { kinds: [contract.JobKind.IMPORT] } });
    return jobs.some(({ state }) => state === contract.JobState.SUCCEEDED);
  }, "the footage is taken in");
}

/** Opens the page in a window of its own. Whatever goes wrong in it fails the test. */
async function opened(t, { path = "/", url = server.url, ...options } = {}) {
  const context = await chromium.newContext({
    viewport: { width: 1280, height: 800 },
    timezoneId: "Europe/Berlin",
    permissions: ["clipboard-read", "clipboard-write"],
    ...options,
  });
  const page = await context.newPage();
  page.setDefaultTimeout(patienceMs);
  page.faults = [];
  page.on("pageerror", (error) => page.faults.push(String(error.stack ?? error)));
  page.on("console", (message) => {
    // Answers that are errors are part of what is tested; the page's own words and a refusal by the policy are not.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) page.faults.push(message.text());
  });
  // Every bar that shows how far something is, with its words, also those that are gone at once.
  await page.addInitScript(() => {
    globalThis.progressSeen = [];
    new MutationObserver(() => {
      for (const bar of document.querySelectorAll("progress")) {
        const words = `${bar.getAttribute("aria-label")}: ${bar.getAttribute("aria-valuetext")}`;
        if (globalThis.progressSeen.at(-1) !== words) globalThis.progressSeen.push(words);
      }
    }).observe(document, { subtree: true, childList: true, attributes: true });
  });
  t.after(async () => {
    await context.close();
    assert.deepEqual(page.faults, [], "faults in the page");
  });
  await page.goto(url + path);
  return page;
}

async function openedTimeline(t, options) {
  const page = await opened(t, options);
  await page.getByText("live", { exact: true }).waitFor();
  await page.locator("[data-row]").first().waitFor();
  return page;
}

/** Goes to a view by the head of the page. */
async function goTo(page, view) {
  await page.getByRole("navigation", { name: "Views" }).getByRole("link", { name: view }).click();
}

const rows = ["dock_04", "gate_a_01", "lobby_03", "roof_05", "yard_02"];

/** Draws a window with the mouse, from one moment of a camera to another of the same or another camera. */
async function drag(page, camera, from, to, toCamera = camera) {
  const start = await pointOf(page, camera, from);
  const end = await pointOf(page, toCamera, to);
  await page.mouse.move(start.x, start.y);
  await page.mouse.down();
  await page.mouse.move((start.x + end.x) / 2, (start.y + end.y) / 2, { steps: 3 });
  await page.mouse.move(end.x, end.y, { steps: 3 });
  await page.mouse.up();
}

/** Where a moment is on the screen: the page shows all footage with a margin, as the fields of a click tell. */
async function pointOf(page, camera, minutes) {
  const box = await page.locator(`[data-row="${rows.indexOf(camera)}"] canvas`).boundingBox();
  const margin = 40 * minuteMs * 0.03;
  const part = (minutes * minuteMs + margin) / (40 * minuteMs + 2 * margin);
  return { x: box.x + box.width * part, y: box.y + box.height / 2 };
}

/** The window that the panel says. */
async function chosen(page) {
  const panel = page.getByRole("region", { name: "Chosen window" });
  const read = async (name) => new Date(`${await panel.getByLabel(name).inputValue()}+01:00`).getTime();
  return { from: await read("From"), to: await read("To") };
}

/** Waits until a clip plays: its time goes on, and nothing is wrong with it. */
async function plays(page) {
  const video = page.locator("video");
  await video.waitFor();
  const started = await until(async () => {
    const state = await video.evaluate((element) => ({ at: element.currentTime, error: element.error?.message, paused: element.paused }));
    assert.equal(state.error, undefined);
    return state.at > 0.2 && !state.paused && state;
  }, "the clip plays");
  await until(async () => (await video.evaluate((element) => element.currentTime)) > started.at + 0.3, "the clip goes on playing");
}

test("a window drawn with the mouse becomes a clip that plays and can be saved", async (t) => {
  const page = await openedTimeline(t);
  await drag(page, "gate_a_01", 10, 12);
  const { from, to } = await chosen(page);
  // A pixel is some two seconds here.
  assert(Math.abs(from - (begin + 10 * minuteMs)) < 6_000 && Math.abs(to - (begin + 12 * minuteMs)) < 6_000, `${new Date(from)} ${new Date(to)}`);

  await page.getByRole("button", { name: "Make clip" }).click();
  const dialog = page.getByRole("dialog", { name: "Make a clip" });
  await dialog.getByText(/recorded, in 1\d files; about/).waitFor();
  await dialog.getByLabel("Label").fill("by mouse");
  await dialog.getByRole("button", { name: "Make the clip" }).click();
  await plays(page);

  const seen = await page.evaluate(() => globalThis.progressSeen);
  assert(seen.some((words) => /^Making the clip: (waiting|cutting|planning)/.test(words)), `progress was shown: ${seen}`);
  const { clips: [clip] } = await footage.clips.listClips({ pageSize: 1 });
  assert.deepEqual({ ...clip.labels }, { label: "by mouse" });
  assert.equal(Number(clip.requestedWindow.startTime.seconds) * 1000 + clip.requestedWindow.startTime.nanos / 1e6, from);
  await page.getByText(clip.sha256).waitFor();
  // The clock beside the picture is that of the footage.
  assert.match(await page.getByLabel("Moment shown").textContent(), /^2026-11-22 14:(09|10):\d\d\.\d\d$/);

  const saving = page.waitForEvent("download");
  await page.getByRole("link", { name: "Download the clip" }).click();
  const saved = await saving;
  assert.equal(saved.suggestedFilename(), clip.fileName);
  assert.equal(createHash("sha256").update(await readFile(await saved.path())).digest("hex"), clip.sha256);

  await page.getByRole("button", { name: "Copy SHA-256" }).click();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), clip.sha256);
});

test("the same by keys alone", async (t) => {
  const page = await openedTimeline(t);
  const active = () =>
    page.evaluate(() => {
      const { role, ariaLabel, tagName, textContent } = document.activeElement;
      return [role ?? tagName.toLowerCase(), ariaLabel ?? textContent].join(" ");
    });
  for (let presses = 0; (await active()) !== "application Timeline"; presses += 1) {
    assert(presses < 40, `Tab does not come to the timeline but to ${await active()}`);
    await page.keyboard.press("Tab");
  }
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Home");
  for (let zoomed = 0; zoomed < 4; zoomed += 1) await page.keyboard.press("+");
  for (let step = 0; step < 4; step += 1) await page.keyboard.press("ArrowRight");
  for (let step = 0; step < 6; step += 1) await page.keyboard.press("Shift+ArrowRight");
  const { from, to } = await chosen(page);
  assert(from > begin && from < begin + minuteMs && to > from && to - from <= minuteMs, `${from} ${to}`);
  await page.getByText(/^Gate A, 2026-11-22 14:0\d:\d\d, recorded; .* chosen$/).waitFor();

  await page.keyboard.press("Enter");
  await page.getByRole("dialog", { name: "Make a clip" }).waitFor();
  assert.equal(await active(), "button Make the clip");
  await page.keyboard.press("Enter");
  await plays(page);
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  // The dialog is gone a moment before the focus is back.
  await until(async () => (await active()) === "application Timeline", "whoever closes the clip goes on where they were");
  const { clips: [clip] } = await footage.clips.listClips({ pageSize: 1 });
  assert.equal(clip.cameraId, "gate_a_01");
  assert.equal(Number(clip.requestedWindow.startTime.seconds) * 1000 + clip.requestedWindow.startTime.nanos / 1e6, from);

  // To the next end of footage, and several cameras.
  await page.keyboard.press("Escape");
  await page.keyboard.press("0");
  for (let row = 0; row < 3; row += 1) await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Home");
  await page.keyboard.press("Control+ArrowRight");
  await page.getByText(/^yard_02, 2026-11-22 14:05:00, not recorded for 1 min/).waitFor();
  await page.keyboard.press("Control+Shift+ArrowRight");
  await page.getByText(/^yard_02, 2026-11-22 14:06:00, recorded; 1 min chosen$/).waitFor();
  await page.keyboard.press("Shift+ArrowUp");
  const gap = await chosen(page);
  assert.deepEqual([gap.from, gap.to].map((at) => Math.round((at - begin) / 1000)), [300, 360], "the gap of yard_02");
  await page.getByRole("region", { name: "Chosen window" }).getByText("2 cameras").waitFor();
  await page.keyboard.press("a");
  const dialog = page.getByRole("dialog", { name: "Make an archive" });
  await dialog.waitFor();
  assert(await dialog.getByLabel("yard_02").isChecked());
  assert(await dialog.getByLabel("roof_05").isChecked());
});

test("the wheel zooms where the pointer is, and the timeline says what is there", async (t) => {
  const page = await openedTimeline(t);
  const place = await pointOf(page, "yard_02", 28);
  await page.mouse.move(place.x, place.y);
  const hover = page.locator(".hover");
  await hover.getByText(/^not recorded for 6 min 40/).waitFor();
  const before = await hover.locator("b").textContent();
  const utc = await hover.locator("span").first().textContent();
  assert.match(before, /^2026-11-22 14:2[78]:\d\d/);
  assert.match(utc, /^2026-11-22 13:2[78]:\d\d/);
  await page.mouse.wheel(0, -900);
  await page.mouse.move(place.x + 1, place.y);
  await page.mouse.move(place.x, place.y);
  const after = await hover.locator("b").textContent();
  assert(Math.abs(new Date(after) - new Date(before)) < 5_000, `${before} beneath the pointer became ${after}`);
  // Held as evidence, by the page itself.
  await page.getByRole("button", { name: "All" }).click();
  await drag(page, "yard_02", 8, 12);
  await page.getByRole("button", { name: "Evidence" }).click();
  await page.getByRole("textbox", { name: "Incident" }).fill("case-17");
  await page.getByRole("button", { name: "Hold", exact: true }).click();
  await page.getByText(/^\d+ recordings are held\.$/).waitFor();
  await page.keyboard.press("Escape");
  const held = await pointOf(page, "yard_02", 10);
  await page.mouse.move(held.x, held.y);
  await hover.getByText("recorded, held as evidence (case-17)").waitFor();
});

test("an archive of two cameras is planned, made, verified and deleted", async (t) => {
  const page = await openedTimeline(t);
  await drag(page, "lobby_03", 14, 17, "roof_05");
  await page.getByRole("button", { name: "Make archive" }).click();
  const dialog = page.getByRole("dialog", { name: "Make an archive" });
  const plan = dialog.getByRole("status");
  await plan.getByText(/from \d+ recordings/).waitFor();
  await plan.getByText(/lobby_03: .*1 gap/).waitFor();
  assert.equal(await plan.getByText("dock_04").count(), 0, "only the cameras that were drawn over");
  await dialog.getByLabel("Case").fill("2026-117");
  await dialog.getByLabel("Operator").fill("control room");
  await dialog.getByRole("button", { name: "Make the archive" }).click();
  await page.getByText("The archive is made").waitFor();
  const { archives: [archive] } = await footage.archives.listArchives({ caseId: "2026-117" });
  assert.deepEqual(archive.cameras.map(({ cameraId }) => cameraId), ["lobby_03", "roof_05"]);
  await page.getByText(archive.sha256).waitFor();
  await page.keyboard.press("Escape");

  await goTo(page, "Archives");
  const card = page.getByRole("listitem").filter({ has: page.getByRole("heading", { name: "Case 2026-117" }) });
  const saving = page.waitForEvent("download");
  await card.getByRole("link", { name: "Download" }).click();
  assert.equal(createHash("sha256").update(await readFile(await (await saving).path())).digest("hex"), archive.sha256);
  await card.getByRole("button", { name: "Verify" }).click();
  await card.getByText("Intact.").waitFor();
  await card.getByRole("button", { name: "Delete" }).click();
  await card.getByRole("button", { name: "Keep" }).click();
  assert.equal((await footage.archives.listArchives({ caseId: "2026-117" })).archives.length, 1, "asked, and not confirmed");
  await card.getByRole("button", { name: "Delete" }).click();
  await card.getByRole("group", { name: "Delete this archive?" }).getByRole("button", { name: "Delete" }).click();
  await card.waitFor({ state: "detached" });
  assert.equal((await footage.archives.listArchives({ caseId: "2026-117" })).archives.length, 0);
});

test("a virtual clip is listed, played, made a file and deleted", async (t) => {
  const page = await openedTimeline(t);
  await drag(page, "gate_a_01", 20, 22);
  await page.getByRole("button", { name: "Make clip" }).click();
  await page.getByLabel("Label").fill("virtual one");
  await page.getByLabel(/^Virtual/).check();
  await page.getByRole("button", { name: "Make the clip" }).click();
  await plays(page);
  await page.getByRole("button", { name: "Done" }).click();

  await goTo(page, "Clips");
  const card = page.getByRole("listitem").filter({ has: page.getByRole("heading", { name: "virtual one" }) });
  await card.getByText("virtual", { exact: true }).waitFor();
  await card.getByRole("button", { name: "Make a file" }).click();
  await card.getByText("virtual", { exact: true }).waitFor({ state: "detached" });
  await card.getByRole("button", { name: "Play" }).click();
  await plays(page);
  const { clips } = await footage.clips.listClips({});
  const clip = clips.find(({ labels }) => labels.label === "virtual one");
  await page.getByText(clip.sha256).waitFor();
  await page.keyboard.press("Escape");
  await card.getByRole("button", { name: "Delete" }).click();
  await card.getByRole("group", { name: "Delete this clip?" }).getByRole("button", { name: "Delete" }).click();
  await card.waitFor({ state: "detached" });
  await assert.rejects(footage.clips.getClip({ clipId: clip.id }), contract.NotFoundError);
});

test("jobs move live, can be cancelled and tried again, and say why they failed", async (t) => {
  const page = await opened(t, { path: "/#/jobs" });
  await page.getByText("live", { exact: true }).waitFor();
  await page.getByText("none running").waitFor();
  // Encoding forty minutes anew takes longer than this test does.
  const job = await footage.createClip("gate_a_01", new Date(begin), new Date(begin + 40 * minuteMs), {
    engine: contract.ClipEngine.RENDER,
    labels: { label: "slow" },
  });
  t.after(() => job.cancel());
  const card = page.locator(`[data-job="${job.id}"]`);
  await card.getByText("running", { exact: true }).waitFor();
  const bar = card.getByRole("progressbar");
  await until(async () => Number(await bar.getAttribute("value")) > 0, "the bar has begun");
  const first = Number(await bar.getAttribute("value"));
  await until(async () => Number(await bar.getAttribute("value")) > first, "the bar moves");
  assert.match(await page.title(), /^\(1\) Jobs/);
  assert.equal(await page.getByRole("navigation").getByLabel("1 not ended").textContent(), "1");
  // What runs is above what has ended.
  assert.equal(await page.locator("[data-job]").first().getAttribute("data-job"), job.id);

  await card.getByRole("button", { name: "Cancel" }).click();
  await card.getByText("cancelled", { exact: true }).waitFor();
  await card.getByRole("button", { name: "Retry" }).click();
  const again = await until(async () => {
    const { jobs } = await footage.jobs.listJobs({ pageSize: 5 });
    return jobs.find(({ retryOf }) => retryOf === job.id);
  }, "there is a new job");
  t.after(() => footage.jobs.cancelJob({ jobId: again.id }));
  const second = page.locator(`[data-job="${again.id}"]`);
  await second.getByText("running", { exact: true }).waitFor();
  await second.getByRole("button", { name: "Cancel" }).click();
  await second.getByText("cancelled", { exact: true }).waitFor();
  await page.getByText("none running").waitFor();
});

test("backups show where footage goes, how it fares and what is wrong", async (t) => {
  const page = await opened(t, { path: "/#/backups" });
  const card = (name) => page.getByRole("listitem").filter({ has: page.getByRole("heading", { name, exact: false, level: 3 }) });
  await card("NAS").getByRole("button", { name: "Test" }).click();
  await card("NAS").getByText("It works.").waitFor();
  await card("NAS").getByText("✓ read back").waitFor();
  await card("USB").getByRole("button", { name: "Test" }).click();
  await card("USB").getByText(/nothing is mounted/).waitFor();

  await card("nightly").getByText("at 30 2 * * * (Europe/Berlin)").waitFor();
  await card("nightly").getByRole("button", { name: "Run now" }).click();
  const runs = page.getByRole("region", { name: "Runs" });
  await runs.getByText(/^237 files sent, /).waitFor();
  await card("NAS").getByText(/in 237 files/).waitFor();
  // Its first run was due at once.
  await runs.getByText(/nothing is mounted/).first().waitFor();
  await runs.getByText("See that the destination is there and can be read, test it, then run the policy again.").first().waitFor();
  await card("to the disk").getByText("overdue", { exact: true }).waitFor();
  await page.getByRole("alert").getByText(/policy "to the disk" is overdue/).waitFor();
});

test("names and labels that look like HTML stay text", async (t) => {
  const hostile = `<img src=x onerror="globalThis.hacked=1"><script>hacked=1</script>`;
  await footage.catalog.upsertCamera({ camera: { id: "lobby_03", displayName: hostile } });
  t.after(() => footage.catalog.upsertCamera({ camera: { id: "lobby_03" }, updateMask: { paths: ["display_name"] } }));
  const running = await footage.createClip("lobby_03", new Date(begin), new Date(begin + 5_000), {
    labels: { label: hostile, [`k`]: hostile },
    createdBy: hostile,
  });
  await running.result();
  const spec = { caseId: hostile.slice(0, 128), operator: hostile.slice(0, 128), reason: hostile };
  const archive = await (await footage.createArchive(["lobby_03"], new Date(begin), new Date(begin + 5_000), { spec, createdBy: hostile })).result();
  const page = await openedTimeline(t);
  for (const view of ["Timeline", "Clips", "Jobs", "Archives", "Backups"]) {
    await goTo(page, view);
    await page.getByRole("heading", { name: view, level: 1 }).waitFor();
    if (view !== "Backups") await page.getByText('<img src=x onerror="globalThis.hacked=1">').first().waitFor({ state: "attached" });
    if (view === "Clips") {
      await page.getByRole("button", { name: /^Play <img/ }).first().click();
      await page.locator("video").waitFor();
      await page.keyboard.press("Escape");
    }
    if (view === "Archives") for (const summary of await page.locator("summary").all()) await summary.click();
    assert.equal(await page.evaluate(() => globalThis.hacked), undefined, view);
    assert.equal(await page.locator('img[src="x"], main script').count(), 0, view);
  }
  await footage.archives.deleteArchive({ archiveId: archive.id });
});

test("the page says that the server is away, and goes on when it is back", async (t) => {
  const page = await openedTimeline(t);
  await goTo(page, "Clips");
  await page.getByRole("heading", { name: "Clips", level: 1 }).waitFor();
  const { port } = server;
  await server.stop();
  const banner = page.getByRole("alert").filter({ hasText: "The server is not reachable" });
  await banner.waitFor();
  await page.getByText("disconnected", { exact: true }).waitFor();
  await server.run(port);
  await page.getByText("live", { exact: true }).waitFor();
  await banner.waitFor({ state: "detached" });
  // What was made meanwhile is there without anything being done.
  const clip = await (await footage.createClip("gate_a_01", new Date(begin), new Date(begin + 3_000), { labels: { label: "after the restart" } })).result();
  await page.getByRole("heading", { name: "after the restart" }).waitFor();
  await footage.clips.deleteClip({ clipId: clip.id });
});

test("where a proxy wants a token, the page asks for it, and clips play all the same", async (t) => {
  const proxy = await Proxy.to(server.port, "secret");
  t.after(() => proxy.close());
  const page = await opened(t, { url: proxy.url });
  const form = page.getByLabel("Token");
  await form.fill("wrong");
  await page.getByRole("button", { name: "Use it" }).click();
  await page.getByRole("heading", { name: "A token is needed" }).waitFor();
  await form.fill("secret");
  await page.getByRole("button", { name: "Use it" }).click();
  await page.getByText("live", { exact: true }).waitFor();
  await page.locator("[data-row]").first().waitFor();
  await drag(page, "gate_a_01", 10, 11);
  await page.getByRole("button", { name: "Make clip" }).click();
  await page.getByRole("button", { name: "Make the clip" }).click();
  const refusedBefore = proxy.refused;
  await plays(page);
  const saving = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download the clip" }).click();
  const { clips: [clip] } = await footage.clips.listClips({ pageSize: 1 });
  assert.equal(createHash("sha256").update(await readFile(await (await saving).path())).digest("hex"), clip.sha256);
  assert.equal(proxy.refused, refusedBefore, "nothing went without the token");
  // The token is in this window only, and stays there when the page is loaded again.
  await page.reload();
  await page.getByText("live", { exact: true }).waitFor();
  assert.equal(await page.evaluate(() => localStorage.length), 0);
});

test("gRPC-Web in Chromium: answers, streams, errors with details, cancellation", async (t) => {
  const page = await openedTimeline(t);
  await page.evaluate(await webClientScript());
  const { clips: [clip] } = await footage.clips.listClips({ pageSize: 1 });
  const found = await page.evaluate(async (clipId) => {
    const { Footage } = globalThis.client;
    const footage = new Footage(location.origin, { timeoutMs: 5_000 });
    const told = (error) => ({
      name: error.constructor.name,
      code: error.code,
      reason: error.reason,
      resource: error.resource,
      fields: error.fieldViolations.map(({ field }) => field),
    });
    const failure = (call) => call.then(() => undefined, told);
    const cameras = (await footage.catalog.listCameras({})).cameras.map(({ id }) => id);
    const { clip } = { clip: await footage.clips.getClip({ clipId }) };
    const blob = await footage.download(clip);
    const unknown = await failure(footage.clips.getClip({ clipId: "clip_unknown" }));
    const invalid = await failure(footage.clips.createClip({ cameraId: "No slug!", validateOnly: true }));
    const snapshot = [];
    const watching = new AbortController();
    let ended;
    try {
      for await (const { event } of footage.jobs.watchJobs({}, { signal: watching.signal })) {
        snapshot.push(event.case);
        if (event.case === "snapshotEnd") watching.abort();
      }
    } catch (error) {
      ended = told(error);
    }

    return { cameras, size: blob.size, unknown, invalid, snapshot: snapshot.at(-1), ended };
  }, clip.id);

  assert.deepEqual(found.cameras.toSorted(), rows);
  assert.equal(found.size, Number(clip.sizeBytes));
  assert.deepEqual([found.unknown.reason, found.unknown.code, found.unknown.resource.name], ["CLIP_NOT_FOUND", 5, "clip_unknown"]);
  assert.equal(found.invalid.reason, "INVALID_FIELD");
  assert.deepEqual(found.invalid.fields.toSorted(), ["camera_id", "end_time", "start_time"]);
  assert.deepEqual([found.snapshot, found.ended.code], ["snapshotEnd", 1]);

  // The server streams eight archives at a time; one of them goes to the page, and is over for the server when the page
  // cancels it.
  const stop = new AbortController();
  const taken = [];
  const take = async () => {
    const stream = footage.archives.streamArchive({ spec: {} }, { signal: stop.signal })[Symbol.asyncIterator]();
    taken.push(stream);
    return (await stream.next()).value.content.case;
  };
  const first = await page.evaluate(async () => {
    globalThis.taking = new AbortController();
    const footage = new globalThis.client.Footage();
    const stream = footage.archives.streamArchive({ spec: {} }, { signal: globalThis.taking.signal })[Symbol.asyncIterator]();
    return (await stream.next()).value.content.case;
  });
  assert.equal(first, "header");
  for (let others = 0; others < 7; others += 1) assert.equal(await take(), "header");
  await assert.rejects(take(), (error) => error.reason === "TOO_MANY_WATCHERS");
  await page.evaluate(() => globalThis.taking.abort());
  await until(() => take().catch(() => undefined), "the server has noticed that the page cancelled");
  stop.abort();
});

test("errors say what to do next", async (t) => {
  const page = await openedTimeline(t);
  await drag(page, "yard_02", 26, 30);
  await page.getByRole("button", { name: "Make clip" }).click();
  const note = page.getByRole("alert");
  await note.getByText("no recorded footage in the requested range").waitFor();
  await note.getByText("Choose a window in which the timeline shows footage.").waitFor();
  await note.getByText("NO_FOOTAGE").waitFor();
});

test("a server without footage says how to get some", async (t) => {
  const empty = await Server.start({ footage: false });
  t.after(() => empty.close());
  const page = await opened(t, { url: empty.url });
  await page.getByText("Nothing is recorded yet").waitFor();
  await page.getByText(/footage import/).waitFor();
  for (const [view, words] of [
    ["Clips", "No clips yet"],
    ["Archives", "No archives yet"],
    ["Backups", "Footage is not backed up yet"],
  ]) {
    await goTo(page, view);
    await page.getByText(words).waitFor();
  }
});

test("every view fits a desktop and a phone, light and dark", async (t) => {
  await (await footage.createClip("yard_02", new Date(begin + 4 * minuteMs), new Date(begin + 7 * minuteMs), { labels: { label: "Blue van at the gate" } })).result();
  await (await footage.createClip("gate_a_01", new Date(begin), new Date(begin + 30 * minuteMs), { virtual: true })).result();
  await (await footage.createArchive(["gate_a_01", "yard_02"], new Date(begin), new Date(begin + 10 * minuteMs), { spec: { caseId: "2026-118", operator: "control room" } })).result();
  const sizes = { desktop: { width: 1280, height: 800 }, phone: { width: 360, height: 740 } };
  const pages = [];
  for (const [size, viewport] of Object.entries(sizes)) {
    const page = await openedTimeline(t, { viewport, reducedMotion: "reduce", hasTouch: size === "phone" });
    const shot = async (name, whole = true) => {
      for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme });
        const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert(wider <= 0, `${name} is ${wider} pixels wider than a ${size}`);
        await page.screenshot({ path: join(screenshots, `${name}-${size}-${colorScheme}.png`), fullPage: whole });
      }
    };
    pages.push({ page, shot });
  }
  const running = await footage.createClip("gate_a_01", new Date(begin), new Date(begin + 40 * minuteMs), { engine: contract.ClipEngine.RENDER });
  for (const { page, shot } of pages) {
    await goTo(page, "Jobs");
    await page.locator(`[data-job="${running.id}"]`).getByText("running", { exact: true }).waitFor();
    await shot("jobs");
  }
  await running.cancel();
  for (const { page, shot } of pages) {
    await goTo(page, "Timeline");
    await page.getByText("Drag over a camera").waitFor();
    await drag(page, "gate_a_01", 14, 17);
    await page.waitForFunction(() => document.querySelector(".hover") !== null);
    await shot("timeline");
    await page.getByRole("button", { name: "Make clip" }).click();
    await page.getByText(/recorded, in \d+ files/).waitFor();
    await shot("clip-form", false);
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Make archive" }).click();
    await page.getByText(/from \d+ recordings/).waitFor();
    await shot("archive-form", false);
    await page.keyboard.press("Escape");
    for (const [view, ready] of [["Clips", "Blue van at the gate"], ["Archives", "Case 2026-118"], ["Backups", "nightly"]]) {
      await goTo(page, view);
      await until(async () => (await page.title()).endsWith(`${view} – Footage`), `the title names ${view}`);
      await page.getByText(ready).first().waitFor();
      await shot(view.toLowerCase());
      if (view !== "Clips") continue;
      await page.getByRole("button", { name: /^Play Blue van/ }).click();
      await page.waitForFunction(() => document.querySelector("video")?.readyState >= 2);
      await shot("player", false);
      await page.keyboard.press("Escape");
    }
  }
});
