// The helper against a real server: jobs that are followed through broken streams, downloads, cancelling, errors.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createHash, randomUUID } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, readSync, rmdirSync, rmSync, writeFileSync, writeSync } from "node:fs";
import http2 from "node:http2";
import net from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import {
  Code,
  DataLossError,
  DeadlineExceededError,
  Footage,
  FootageError,
  fromStatus,
  JobCancelledError,
  JobFailedError,
  NotFoundError,
  progressLine,
  UnavailableError,
} from "@heldar/footage";
import { CatalogService, JobState } from "@heldar/footage/proto";
import { Footage as WebFootage } from "@heldar/footage/web";
import { serverUrl } from "../dist/address.js";
import { CuttingProxy } from "./proxy.mjs";
import { imported, Server } from "./server.mjs";

const at = (seconds) => new Date(Date.UTC(2026, 10, 22, 13) + seconds * 1000);
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

let server;
let footage;
let archive;
before(async () => {
  server = await Server.start();
  footage = new Footage(server.url);
  await imported(footage);
  archive = await (await footage.createArchive()).result();
});
after(async () => {
  footage.close();
  await server.close();
});

let proxy;
let folder;
beforeEach(async () => {
  proxy = await CuttingProxy.to(server.port);
  folder = mkdtempSync(join(tmpdir(), "footage-test-"));
});
afterEach(() => {
  proxy.close();
  rmSync(folder, { recursive: true });
});

/** A destination to which all footage takes some seconds. */
async function slowDestination(on = server, through = footage, bytesPerSecond = 3_000_000n) {
  const path = join(on.folder, "backups", randomUUID());
  mkdirSync(path);
  const destination = { bandwidthLimitBytesPerSecond: bytesPerSecond, settings: { case: "local", value: { path } } };
  return (await through.backups.createDestination({ destination })).id;
}

async function slowJob(through, bytesPerSecond) {
  const destinationId = await slowDestination(server, footage, bytesPerSecond);
  return through.follow(await through.backups.createBackup({ destinationId }));
}

function increasing(values) {
  return values.every((value, number) => number === 0 || value > values[number - 1]);
}

test("a clip is made, followed and saved with its hash", async () => {
  const seen = [];
  const job = await footage.createClip("gate_a_01", at(3.2), at(8.1), { labels: { Straße: "東京" } });
  const clip = await job.result({ onProgress: (state) => seen.push(state) });
  assert.deepEqual(clip.labels, { Straße: "東京" });
  assert(increasing(seen.map((state) => state.revision)));
  assert.match(progressLine(seen.at(-1)), /^succeeded/);
  assert(seen.at(-1).requestId, "the client chose a request id");
  const received = [];
  const path = await footage.download(clip, folder, { onProgress: (...bytes) => received.push(bytes) });
  assert.equal(path, join(folder, clip.fileName));
  assert.equal(sha256(readFileSync(path)), clip.sha256);
  assert.deepEqual(received.at(-1), [Number(clip.sizeBytes), Number(clip.sizeBytes)]);
  assert.deepEqual(readdirSync(folder), [clip.fileName]);
});

test("a job is followed through streams that break", async () => {
  const through = new Footage(proxy.address);
  const job = await slowJob(through);
  const revisions = [];
  for await (const state of job) {
    revisions.push(state.revision);
    if (revisions.length === 2 || revisions.length === 4) proxy.cut();
  }
  through.close();
  assert(proxy.connections >= 3, "the connection was made anew after each cut");
  assert(increasing(revisions), "no state came twice");
  assert.equal((await job.result()).filesSent, 17n);
});

test("a job is followed through a restart of the server", async () => {
  const restarted = await Server.start();
  const through = new Footage(restarted.url);
  await imported(through);
  const destinationId = await slowDestination(restarted, through);
  const job = await through.follow(await through.backups.createBackup({ destinationId }));
  let restart;
  for await (const state of job) {
    if (state.state === JobState.RUNNING && state.progress?.bytesDone) {
      restart ??= restarted.stop().then(() => restarted.run(restarted.port));
    }
  }
  await restart;
  assert.equal((await job.result()).filesSelected, 17n);
  through.close();
  await restarted.close();
});

test("a stream of a server that shuts down ends with the time to wait", async () => {
  const drained = await Server.start();
  const through = new Footage(drained.url);
  await assert.rejects(
    async () => {
      for await (const { event } of through.jobs.watchJobs({})) {
        if (event.case === "snapshotEnd") drained.process.kill("SIGTERM");
      }
    },
    (error) => error instanceof UnavailableError && error.reason === "DRAINING" && error.retryAfterMs === 1000,
  );
  through.close();
  await drained.close();
});

test("a call that breaks is repeated and makes one job", async () => {
  const through = new Footage(proxy.address);
  const destinationId = await slowDestination();
  setTimeout(() => proxy.cut(), 700);
  const job = await through.backups.createBackup({ destinationId, wait: { seconds: 30n }, labels: { test: "repeated" } });
  through.close();
  assert.equal(job.state, JobState.SUCCEEDED);
  assert.equal(proxy.connections, 2);
  const { jobs } = await footage.jobs.listJobs({ filter: { labels: { test: "repeated" } } });
  assert.deepEqual(jobs.map(({ id }) => id), [job.id]);
});

test("a download that breaks goes on where it stopped", async () => {
  const through = new Footage(proxy.address);
  proxy.cutAfter(Number(archive.sizeBytes) / 2);
  const received = [];
  const path = await through.download(archive, folder, { onProgress: (bytes) => received.push(bytes) });
  through.close();
  assert.equal(proxy.connections, 2);
  assert(increasing(received), "nothing was received twice");
  assert.equal(sha256(readFileSync(path)), archive.sha256);
});

test("a download takes up what an earlier program left, and fetches anew what does not fit", async () => {
  const whole = readFileSync(await footage.download(archive, join(folder, "whole.zip")));
  const part = join(folder, `.again.zip.${archive.sha256.slice(0, 16)}.part`);
  writeFileSync(part, whole.subarray(0, whole.length / 2));
  const received = [];
  const path = await footage.download(archive, join(folder, "again.zip"), { onProgress: (bytes) => received.push(bytes) });
  assert(received[0] >= Math.floor(whole.length / 2));
  assert(readFileSync(path).equals(whole));
  writeFileSync(part, "x".repeat(1000));
  assert(readFileSync(await footage.download(archive, join(folder, "again.zip"))).equals(whole));
  assert(!existsSync(part));
});

test("a file that is not the one that was asked for gets no name, and is not asked for again", { timeout: 20_000 }, async () => {
  const other = { ...archive, sha256: "0".repeat(64) };
  await assert.rejects(footage.download(other, folder), (error) => error instanceof DataLossError && /another file/.test(error.message));
  assert.deepEqual(readdirSync(folder), []);
  await assert.rejects(new WebFootage(server.url).download(other), (error) => error instanceof DataLossError && /another file/.test(error.message));
  for (const fileName of ["..", "."]) {
    await assert.rejects(footage.download({ ...archive, fileName }, folder), DataLossError);
  }
});

test("downloads of one file to one place at the same time do not spoil it", async () => {
  const place = join(folder, "same.zip");
  const paths = await Promise.all([1, 2, 3, 4].map(() => footage.download(archive, place)));
  assert.deepEqual(new Set(paths), new Set([place]));
  assert.equal(sha256(readFileSync(place)), archive.sha256);
  assert.deepEqual(readdirSync(folder), ["same.zip"]);
});

test("a download that is aborted leaves what came for a later one", async () => {
  const controller = new AbortController();
  const onProgress = () => controller.abort(new Error("enough"));
  await assert.rejects(footage.download(archive, join(folder, "a.zip"), { onProgress, signal: controller.signal }), /enough/);
  const [part] = readdirSync(folder);
  assert.match(part, /^\.a\.zip\..*\.part$/);
  await footage.download(archive, join(folder, "a.zip"));
  assert.deepEqual(readdirSync(folder), ["a.zip"]);
});

test("a file with another hash gets no name", async () => {
  const clip = await (await footage.createClip("yard_02", at(1), at(3))).result();
  const stored = openSync(join(server.folder, "data/clips", clip.fileName), "r+");
  const byte = Buffer.alloc(1);
  const middle = Number(clip.sizeBytes) >> 1;
  readSync(stored, byte, 0, 1, middle);
  byte[0] ^= 1;
  writeSync(stored, byte, 0, 1, middle);
  await assert.rejects(footage.download(clip, folder), (error) => error instanceof DataLossError && /SHA-256/.test(error.message));
  assert.deepEqual(readdirSync(folder), []);
});

test("a signal that aborts cancels the job", async () => {
  const job = await slowJob(footage, 1000n);
  const controller = new AbortController();
  const onProgress = (state) => state.state === JobState.RUNNING && controller.abort(new Error("no longer wanted"));
  await assert.rejects(job.result({ onProgress, signal: controller.signal }), /no longer wanted/);
  await assert.rejects((await footage.follow(job.id)).result(), (error) => {
    assert(error instanceof JobCancelledError);
    assert.equal(error.reason, "CANCELLED");
    assert.equal(error.job.id, job.id);
    return true;
  });
});

test("Ctrl-C cancels the job", async () => {
  const destinationId = await slowDestination(server, footage, 1000n);
  const program = `
    import { Footage, interruptSignal } from "@heldar/footage";
    const footage = new Footage("${server.url}");
    const job = await footage.follow(await footage.backups.createBackup({ destinationId: "${destinationId}" }));
    console.log(job.id);
    try {
      await job.result({ onProgress: ({ state }) => state === 2 && console.log("running"), signal: interruptSignal() });
    } finally {
      footage.close();
    }`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], { stdio: ["ignore", "pipe", "ignore"], cwd: import.meta.dirname });
  const exit = once(child, "exit");
  let said = "";
  for await (const chunk of child.stdout) {
    said += chunk;
    if (said.includes("running")) break;
  }
  child.kill("SIGINT");
  assert.deepEqual(await exit, [1, null]);
  await assert.rejects((await footage.follow(said.split("\n")[0])).result(), JobCancelledError);
});

test("a failed job has code, reason and metadata", async () => {
  const destinationId = await slowDestination();
  const destination = await footage.backups.getDestination({ destinationId });
  rmdirSync(destination.settings.value.path);
  const tested = await footage.backups.testDestination({ subject: { case: "destinationId", value: destinationId } });
  assert.equal(fromStatus(tested.error).domain, "footage.heldar");
  await assert.rejects((await footage.follow(await footage.backups.createBackup({ destinationId }))).result(), (error) => {
    assert(error instanceof JobFailedError);
    assert.equal(error.reason, "DESTINATION_UNREACHABLE");
    assert.deepEqual(error.metadata, { retryable: "true" });
    assert.equal(error.code, Code.Unavailable);
    return true;
  });
});

test("a server that is away is tried again until the deadline", async () => {
  const nobody = new Footage("127.0.0.1:1", { timeoutMs: 500 });
  const began = Date.now();
  await assert.rejects(nobody.cameras().next(), (error) => error instanceof UnavailableError || error instanceof DeadlineExceededError);
  assert(Date.now() - began < 5000);
  nobody.close();
});

test("a call without an answer ends at its deadline", async () => {
  const silent = net.createServer(() => undefined).listen(0, "127.0.0.1");
  await once(silent, "listening");
  const waiting = new Footage(`127.0.0.1:${silent.address().port}`, { timeoutMs: 300 });
  await assert.rejects(waiting.cameras().next(), DeadlineExceededError);
  waiting.close();
  silent.close();
});

test("an address without a port means that of the service, or of its scheme", () => {
  const found = (address, options) => serverUrl(address, options);
  assert.equal(found("nas"), "http://nas:50051");
  assert.equal(found("nas:7"), "http://nas:7");
  assert.equal(found("nas:80"), "http://nas:80");
  assert.equal(found("[::1]"), "http://[::1]:50051");
  assert.equal(found("nas", true), "https://nas:50051");
  assert.equal(found("http://nas"), "http://nas");
  assert.equal(found("https://nas/"), "https://nas/");
});

test("a plan is no job to follow", async () => {
  await assert.rejects(footage.createClip("gate_a_01", at(0), at(1), { validateOnly: true }), /clips\.createClip/);
  await assert.rejects(footage.createArchive([], undefined, undefined, { validateOnly: true }), /archives\.createArchive/);
});

test("details that cannot be read do not hide the error", () => {
  const garbled = { typeUrl: "type.googleapis.com/google.rpc.ErrorInfo", value: new Uint8Array([0xff]) };
  const error = fromStatus({ code: Code.NotFound, message: "no such camera", details: [garbled] });
  assert(error instanceof NotFoundError, String(error));
  assert.deepEqual([error.message, error.reason, error.details], ["no such camera", "", []]);
});

test("an error in words names its reason and the fields that are wrong", async () => {
  const error = await footage.clips.getClip({}).catch((thrown) => thrown);
  assert.equal(String(error), "InvalidArgumentError: is required (INVALID_FIELD: clip_id)");
});

test("the token goes with every call, and TLS is checked", async () => {
  const [key, cert] = ["key.pem", "certificate.pem"].map((name) => join(folder, name));
  execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-keyout", key, "-out", cert, "-subj", "/CN=footage.test", "-addext", "subjectAltName=DNS:footage.test"], { stdio: "ignore" });
  const heard = [];
  const routes = (router) =>
    router.rpc(CatalogService.method.listCameras, (_, { requestHeader }) => {
      heard.push(requestHeader.get("authorization"));
      return { cameras: [{ id: "behind_tls" }] };
    });
  const standIn = http2.createSecureServer({ key: readFileSync(key), cert: readFileSync(cert) }, connectNodeAdapter({ routes }));
  standIn.listen(0, "127.0.0.1");
  await once(standIn, "listening");
  const address = `https://127.0.0.1:${standIn.address().port}`;
  const trusting = new Footage(address, { token: "secret", tls: { ca: readFileSync(cert), servername: "footage.test" } });
  assert.equal((await trusting.cameras().next()).value.id, "behind_tls");
  assert.deepEqual(heard, ["Bearer secret"]);
  trusting.close();
  const doubting = new Footage(address, { timeoutMs: 1000 });
  await assert.rejects(doubting.cameras().next(), FootageError);
  doubting.close();
  standIn.close();
});

test("over gRPC-Web a job is followed and a clip fetched through connections that break", async () => {
  const web = new WebFootage(`http://${proxy.address}`);
  const job = await slowJob(web);
  const revisions = [];
  for await (const state of job) {
    revisions.push(state.revision);
    if (revisions.length === 3) proxy.cut();
  }
  assert(increasing(revisions));
  assert.equal((await job.result()).filesSent, 17n);
  const clip = await (await web.createClip("gate_a_01", at(0), at(60))).result();
  proxy.cutAfter(Number(clip.sizeBytes) / 2);
  const received = [];
  const blob = await web.download(clip, { onProgress: (bytes) => received.push(bytes) });
  assert(increasing(received));
  assert.equal(blob.type, "video/mp4");
  assert.equal(sha256(Buffer.from(await blob.arrayBuffer())), clip.sha256);
  assert.equal((await fetch(web.mediaUrl(clip), { method: "HEAD" })).headers.get("content-length"), String(clip.sizeBytes));
  await assert.rejects(web.createClip("nowhere", at(0), at(1)), NotFoundError);
});
