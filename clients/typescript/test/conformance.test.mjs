// The cases that every client must see alike, from clients/conformance/cases.json, over gRPC and over gRPC-Web.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { createRegistry, fromJson, toJson } from "@bufbuild/protobuf";
import { Footage, FootageError, Code } from "@heldar/footage";
import { Footage as WebFootage } from "@heldar/footage/web";
import * as errors from "@heldar/footage";
import * as proto from "@heldar/footage/proto";
import { Server, clients, imported } from "./server.mjs";
import * as details from "../dist/gen/google/rpc/error_details_pb.js";

const table = JSON.parse(readFileSync(join(clients, "conformance/cases.json"), "utf8"));
const registry = createRegistry(details.file_google_rpc_error_details);
const services = { CatalogService: "catalog", ClipService: "clips", ArchiveService: "archives", BackupService: "backups", JobService: "jobs" };
const servers = {};

before(async () => {
  for (const [name, settings] of Object.entries(table.servers)) {
    servers[name] = await Server.start(settings);
    const footage = new Footage(servers[name].url);
    await imported(footage);
    footage.close();
  }
});
after(async () => {
  for (const server of Object.values(servers)) await server.close();
});

/** Makes a call of any shape and returns its messages in the JSON form of proto3. */
async function call(footage, name, request, leaveAfter) {
  const [service, method] = name.split("/");
  const short = service.split(".").at(-1);
  const descriptor = proto[short].methods.find((candidate) => candidate.name === method);
  const invoke = footage[services[short]][descriptor.localName];
  const read = (json) => fromJson(descriptor.input, json);
  const answers = [];
  switch (descriptor.methodKind) {
    case "unary":
      answers.push(await invoke(read(request)));
      break;
    case "client_streaming":
      answers.push(await invoke((async function* () { yield* request.map(read); })()));
      break;
    default:
      for await (const message of invoke(read(request))) {
        answers.push(message);
        if (answers.length === leaveAfter) break;
      }
  }
  return answers.map((answer) => toJson(descriptor.output, answer, { registry }));
}

/** Replaces each ${name} by what was saved under the name. */
function fill(value, saved) {
  if (typeof value === "string") return value.replace(/\$\{(\w+)\}/g, (_, name) => saved[name]);
  if (Array.isArray(value)) return value.map((item) => fill(item, saved));
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, fill(item, saved)]));
  }
  return value;
}

/** Everything expected is found; a default may be absent, and what is not expected may be there. */
function assertWithin(expected, found, where) {
  const isDefault = expected === false || expected === "" || expected === 0 || expected === "0" || (typeof expected === "object" && Object.keys(expected).length === 0);
  if (found === undefined && isDefault) return;
  if (Array.isArray(expected)) {
    assert.equal(found?.length, expected.length, where);
    expected.forEach((item, number) => assertWithin(item, found[number], `${where}[${number}]`));
  } else if (typeof expected === "object") {
    for (const [key, item] of Object.entries(expected)) assertWithin(item, found?.[key], `${where}.${key}`);
  } else {
    assert.equal(found, expected, where);
  }
}

function assertError(expected, error, kind = errors[`${table.families[expected.code]}Error`]) {
  assert(error instanceof FootageError, String(error));
  const code = expected.code === "CANCELLED" ? "Canceled" : expected.code.toLowerCase().replace(/(^|_)(.)/g, (_, __, letter) => letter.toUpperCase());
  assert.equal(error.code, Code[code], error.message);
  assert.equal(error.constructor, kind);
  assert.equal(error.reason, expected.reason);
  assert.equal(error.domain, table.domain);
  const types = error.details.map((detail) => detail.$typeName.replace("google.rpc.", "")).sort();
  assert.deepEqual(types, ["ErrorInfo", ...expected.details].sort());
  assert(error.message);
  if (expected.message !== undefined) assert.equal(error.message, expected.message);
  if (expected.fieldViolations) {
    assert.deepEqual(error.fieldViolations.map(({ field }) => field), expected.fieldViolations);
    assert(error.fieldViolations.every(({ description }) => description));
  }
  if (expected.resource) assert.deepEqual(error.resource, expected.resource);
  if (expected.retryAfter) assert.equal(error.retryAfterMs, Number.parseFloat(expected.retryAfter) * 1000);
  assert.deepEqual(error.metadata, expected.metadata ?? {});
}

function assertStream(expected, messages) {
  if (expected.messages) assertWithin(expected.messages, messages, "messages");
  if (expected.first) assertWithin(expected.first, messages[0], "first");
  if (expected.last) assertWithin(expected.last, messages.at(-1), "last");
  const content = Buffer.concat(messages.map((message) => Buffer.from(message.data ?? "", "base64")));
  if (expected.bytes) assert.equal(content.length, Number(expected.bytes));
  if (expected.sha256) assert.equal(createHash("sha256").update(content).digest("hex"), expected.sha256);
}

/** Follows a job by the helper, and holds how it ended. */
async function follow(footage, step) {
  const running = await footage.follow(step.follow);
  const thrown = await running.result().then(() => undefined, (error) => error);
  if (step.error) {
    assertError(step.error, thrown, errors.JobFailedError);
    assert.equal(thrown.job, running.job);
  } else if (step.cancelled) {
    assert(thrown instanceof errors.JobCancelledError, String(thrown));
    assert.equal(thrown.reason, "CANCELLED");
  } else {
    assert.equal(thrown, undefined);
    assert.equal(running.job.warnings.length, step.warnings.length);
    step.warnings.forEach((expected, number) => assertError(expected, errors.fromStatus(running.job.warnings[number])));
  }
}

async function runStep(footage, step, saved) {
  if (step.truncate) return truncateSync(step.truncate, 1);
  if (step.follow) return follow(footage, step);
  const request = step.requests ?? step.request;
  if (step.error) {
    const thrown = await call(footage, step.method, request).then(() => undefined, (error) => error);
    return assertError(step.error, thrown);
  }
  const messages = await call(footage, step.method, request, step.stream?.leaveAfter);
  if (step.stream) assertStream(step.stream, messages);
  else assertWithin(step.response, messages[0], "response");
  for (const [name, path] of Object.entries(step.save ?? {})) {
    saved[name] = String(path.split(".").reduce((value, key) => value[key], messages[0]));
  }
}

function runCases(connect, canStreamRequests) {
  for (const { name, server, steps } of table.cases) {
    test(name, { skip: !canStreamRequests && steps.some((step) => step.requests) && "browsers cannot stream requests" }, async () => {
      const footage = connect(servers[server].url);
      const saved = { site: servers[server].folder };
      try {
        for (const step of steps) await runStep(footage, fill(step, saved), saved);
      } finally {
        footage.close?.();
      }
    });
  }
}

describe("over gRPC", () => runCases((url) => new Footage(url), true));

describe("over gRPC-Web", () => {
  // What the cases made under ids of their own must be made again.
  before(async () => {
    for (const [name, server] of Object.entries(servers)) {
      await server.close();
      servers[name] = await Server.start(table.servers[name]);
      const footage = new Footage(servers[name].url);
      await imported(footage);
      footage.close();
    }
  });
  runCases((url) => new WebFootage(url), false);
});
