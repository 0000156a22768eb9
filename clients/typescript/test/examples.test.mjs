// The examples and the page's first program, run as a person would, against the package as it is packed.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { promisify } from "node:util";
import { Footage } from "@heldar/footage";
import { clients, imported, Server } from "./server.mjs";

const run = promisify(execFile);
const page = join(clients, "typescript");
let project;
let server;
let folder;

before(async () => {
  server = await Server.start();
  const footage = new Footage(server.url);
  await imported(footage);
  footage.close();
  // What npm would install, without asking a registry: the packed files beside the packages that they need.
  project = mkdtempSync(join(tmpdir(), "footage-test-"));
  const { stdout } = await run("npm", ["pack", "--silent", "--ignore-scripts", "--pack-destination", project], { cwd: page });
  const installed = join(project, "node_modules/@heldar/footage");
  mkdirSync(installed, { recursive: true });
  await run("tar", ["-xzf", join(project, stdout.trim()), "--strip-components=1", "-C", installed]);
  for (const scope of ["@bufbuild", "@connectrpc"]) {
    cpSync(join(page, "node_modules", scope), join(project, "node_modules", scope), { recursive: true });
  }
  cpSync(join(page, "examples"), join(project, "examples"), { recursive: true });
});
after(async () => {
  rmSync(project, { recursive: true });
  await server.close();
});
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "footage-test-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

async function example(name, ...options) {
  const { stdout } = await run(process.execPath, [join(project, "examples", name), ...options], { cwd: folder, timeout: 60_000 });
  return stdout;
}

test("the clip example saves the last minute", async () => {
  const said = await example("clip.mjs", server.url, "gate_a_01");
  assert.match(said, /succeeded/);
  const [saved] = readdirSync(folder);
  assert(said.includes(`${saved}: ${statSync(join(folder, saved)).size} bytes`), said);
});

test("the archive example saves three cameras", async () => {
  assert.match(await example("archive.mjs", server.url), /of 3 cameras/);
  await run("python3", ["-m", "zipfile", "-t", join(folder, readdirSync(folder)[0])]);
});

test("the backup example sends everything once", async () => {
  const destination = join(server.folder, "backups/example");
  mkdirSync(destination);
  assert.match(await example("backup.mjs", destination, server.url), /17 files sent, 0 failed/);
  assert.match(await example("backup.mjs", destination, server.url), /0 files sent, 0 failed/);
});

test("the page begins with a working program", async () => {
  const [, program] = /```js\n([^]*?)```/.exec(readFileSync(join(page, "README.md"), "utf8"));
  const file = join(project, "clip.mjs");
  writeFileSync(file, program.replace("127.0.0.1:50051", server.url));
  await run(process.execPath, [file], { cwd: folder, timeout: 60_000 });
  assert.match(readdirSync(folder)[0], /\.mp4$/);
});
