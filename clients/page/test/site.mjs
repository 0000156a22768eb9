// A server with footage that is worth looking at, in a folder of its own, and a browser.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { linkSync, mkdirSync, mkdtempSync, openSync, readdirSync, utimesSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const clients = fileURLToPath(new URL("../..", import.meta.url));
const segmentMs = 10_000;
const recordedSegments = 6;
/** When the footage begins: 2026-11-22T13:00:00Z. */
export const begin = Date.UTC(2026, 10, 22, 13);

/** Cameras, and the segments of forty minutes that each has: all but those in its gaps. */
const segments = 240;
const cameras = {
  gate_a_01: [],
  yard_02: [[30, 36], [150, 190]],
  lobby_03: [[90, 93]],
  dock_04: [[0, 60]],
  roof_05: [[60, 66], [100, 101], [140, 200]],
};

/** Records a minute once, and links its segments to every place. */
function makeFootage(folder) {
  const recorded = join(folder, "recorded");
  mkdirSync(recorded, { recursive: true });
  execFileSync("ffmpeg", [
    ...["-v", "error", "-nostdin", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=12"],
    ...["-f", "lavfi", "-i", "sine=frequency=330:sample_rate=48000"],
    ...["-t", String((recordedSegments * segmentMs) / 1000), "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"],
    ...["-g", "24", "-sc_threshold", "0", "-c:a", "aac", "-b:a", "64k", "-f", "segment", "-segment_time", "10"],
    ...["-reset_timestamps", "1", "-segment_format", "mp4"],
    ...["-segment_format_options", "movflags=+frag_keyframe+empty_moov+default_base_moof", join(recorded, "%d.mp4")],
  ]);
  const files = readdirSync(recorded).sort();
  // A file that was written to just now might still be open.
  for (const file of files) utimesSync(join(recorded, file), begin / 1000, begin / 1000);
  for (const [camera, gaps] of Object.entries(cameras)) {
    mkdirSync(join(folder, "recordings", camera), { recursive: true });
    for (let number = 0; number < segments; number += 1) {
      if (gaps.some(([from, to]) => number >= from && number < to)) continue;
      const [day, clock] = new Date(begin + number * segmentMs).toISOString().replace(/[-:]/g, "").split(/[T.]/);
      linkSync(join(recorded, files[number % files.length]), join(folder, "recordings", camera, `${day}_${clock}.mp4`));
    }
  }
}

/** The server as a process, which may be stopped and started again on its port. */
export class Server {
  static async start({ footage = true, settings = {} } = {}) {
    assert(process.env.FOOTAGE_BIN, "FOOTAGE_BIN names the built server");
    const server = new Server();
    server.folder = mkdtempSync(join(tmpdir(), "footage-page-"));
    server.settings = Object.entries(settings).map(([name, value]) => `${name}=${value}`);
    mkdirSync(join(server.folder, "recordings"));
    if (footage) makeFootage(server.folder);
    await server.run();
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

  async stop(signal = "SIGTERM") {
    this.process.kill(signal);
    await this.ended;
  }

  async close() {
    await this.stop();
    await rm(this.folder, { recursive: true });
  }
}

/** Debian's Chromium, with a profile of its own that goes when it is closed. */
export function browser() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
      ...["--disable-component-update", "--disable-sync", "--mute-audio", "--disable-dev-shm-usage"],
      "--autoplay-policy=no-user-gesture-required",
    ],
  });
}
