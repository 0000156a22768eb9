// Servers for the tests: the built binary as a process, on a free port, in a folder of its own, stopped by its pid.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { openSync } from "node:fs";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const clients = fileURLToPath(new URL("../..", import.meta.url));

/** A running server and its folder. */
export class Server {
  static #footage;

  /** Starts a server with the sample footage, which is made once. */
  static async start(settings = {}) {
    assert(process.env.FOOTAGE_BIN, "FOOTAGE_BIN names the built server");
    const server = new Server();
    server.folder = await mkdtemp(join(tmpdir(), "footage-test-"));
    server.settings = Object.entries(settings).map(([name, value]) => `${name}=${value}`);
    if (Server.#footage) await cp(Server.#footage, join(server.folder, "recordings"), { recursive: true, preserveTimestamps: true });
    await server.run();
    Server.#footage ??= join(server.folder, "recordings");
    return server;
  }

  /** Starts the process, again on the port it had when that is given. */
  async run(port = 0) {
    const log = openSync(join(this.folder, "server.log"), "a");
    this.process = spawn(join(clients, "conformance/server.sh"), [this.folder, ...this.settings], {
      env: { ...process.env, HELDAR_LISTEN: `127.0.0.1:${port}` },
      stdio: ["ignore", "pipe", log],
    });
    this.ended = once(this.process, "exit");
    const [line] = await Promise.race([once(createInterface(this.process.stdout), "line"), this.ended]);
    assert.match(String(line), / listening on http:\/\//, `the server did not start; see ${this.folder}/server.log`);
    this.url = line.slice(line.indexOf("http://"));
    this.port = Number(new URL(this.url).port);
  }

  /** Ends the process and waits for its end. */
  async stop() {
    this.process.kill("SIGTERM");
    await this.ended;
  }

  /** Ends the process and removes the folder. */
  async close() {
    await this.stop();
    if (Server.#footage?.startsWith(this.folder)) Server.#footage = undefined;
    await rm(this.folder, { recursive: true });
  }
}

/** Waits until the sample footage is in the catalog. */
export async function imported(footage) {
  for (;;) {
    let segments = 0n;
    for await (const camera of footage.cameras()) segments += camera.segmentCount;
    if (segments >= 17n) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
