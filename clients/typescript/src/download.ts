/** A file on its way: kept under a temporary name until it is whole and has the right hash. */
import { createHash, type Hash, randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open, rename, stat, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { Code } from "@connectrpc/connect";
import type { FootageClient } from "./client.js";
import { DataLossError, type FootageError } from "./errors.js";
import type { Archive } from "./gen/heldar/footage/v1/archive_resources_pb.js";
import type { Clip } from "./gen/heldar/footage/v1/clip_resources_pb.js";
import type { FileHeader } from "./gen/heldar/footage/v1/common_pb.js";
import { callFailure, checkHash, Patience } from "./resuming.js";

/** How to download. */
export interface DownloadOptions {
  /** Gets the bytes received and the bytes in all. */
  onProgress?: (receivedBytes: number, totalBytes: number) => void;
  /** Ends the download; what came stays for a later one. */
  signal?: AbortSignal;
}

/** The messages of a clip or an archive from an offset on. */
export function fetchBytes(client: FootageClient, what: Clip | Archive, offsetBytes: number, signal?: AbortSignal) {
  const from = { offsetBytes: BigInt(offsetBytes) };
  return what.$typeName === "heldar.footage.v1.Archive"
    ? client.archives.downloadArchive({ archiveId: what.id, ...from }, { signal })
    : client.clips.downloadClip({ clipId: what.id, ...from }, { signal });
}

/** See `Footage.download`. */
export async function saveFile(
  client: FootageClient,
  what: Clip | Archive,
  path: string,
  { onProgress, signal }: DownloadOptions,
): Promise<string> {
  const part = await PartFile.open(await target(path, what.fileName), what);
  const patience = new Patience(client.settings.patienceMs);
  try {
    for (;;) {
      let failure: FootageError | undefined;
      try {
        for await (const { content } of fetchBytes(client, what, part.receivedBytes, signal)) {
          if (content.case === "header" && !(await part.begins(content.value))) break;
          if (content.case !== "data") continue;
          patience.reset();
          await part.write(content.value);
          onProgress?.(part.receivedBytes, part.sizeBytes);
        }
      } catch (error) {
        signal?.throwIfAborted();
        failure = callFailure(error);
      }
      if (failure === undefined && part.receivedBytes >= part.sizeBytes) {
        if (await part.finish()) return part.path;
        continue;
      }
      await patience.pauseAfter(failure, signal);
    }
  } finally {
    await part.close();
  }
}

class PartFile {
  receivedBytes = 0;
  sizeBytes: number;
  #sha256: string;
  #etag: string | undefined;
  #hash: Hash = createHash("sha256");
  #inherited = false;
  #isOpen = true;

  private constructor(
    readonly path: string,
    private readonly part: string,
    private file: FileHandle,
    private readonly what: Clip | Archive,
  ) {
    this.sizeBytes = Number(what.sizeBytes);
    this.#sha256 = what.sha256;
  }

  static async open(path: string, what: Clip | Archive): Promise<PartFile> {
    // What an earlier program left is taken up only where the hash can tell whether it fits.
    const mark = what.sha256.slice(0, 16) || randomBytes(8).toString("hex");
    const part = join(dirname(path), `.${basename(path)}.${mark}.part`);
    const opened = new PartFile(path, part, await openPart(part), what);
    if ((await opened.file.stat()).size > opened.sizeBytes) await opened.#restart();
    for await (const chunk of opened.file.createReadStream({ start: 0, autoClose: false })) {
      opened.#hash.update(chunk as Buffer);
      opened.receivedBytes += (chunk as Buffer).length;
    }
    opened.#inherited = opened.receivedBytes > 0;
    return opened;
  }

  /** False when the file changed meanwhile and the call has to be made anew, from the start. */
  async begins(header: FileHeader): Promise<boolean> {
    checkHash(this.what, header);
    const changed = this.#etag !== undefined && header.etag !== this.#etag;
    this.#etag = header.etag;
    this.#sha256 = header.sha256;
    this.sizeBytes = Number(header.totalSizeBytes);
    if (changed) await this.#restart();
    return !changed || header.offsetBytes === 0n;
  }

  async write(data: Uint8Array): Promise<void> {
    for (let written = 0; written < data.length; ) {
      const { bytesWritten } = await this.file.write(data, written, data.length - written, this.receivedBytes + written);
      written += bytesWritten;
    }
    this.#hash.update(data);
    this.receivedBytes += data.length;
  }

  /** Gives the file its name; false when what an earlier program left was wrong, and all has to come again. */
  async finish(): Promise<boolean> {
    const found = this.#hash.copy().digest("hex");
    if (this.receivedBytes === this.sizeBytes && (!this.#sha256 || found === this.#sha256)) {
      await this.file.sync();
      if (await this.#name()) return true;
      await this.#restart();
      return false;
    }
    if (this.#inherited) {
      await this.#restart();
      return false;
    }
    await this.#shut();
    await unlink(this.part).catch(() => undefined);
    throw new DataLossError(
      Code.DataLoss,
      `${basename(this.path)}: ${this.receivedBytes} bytes with SHA-256 ${found} came, ` +
        `not ${this.sizeBytes} with ${this.#sha256 || "any"}`,
    );
  }

  /** Leaves what came where a later download finds it; nothing where none could tell whether it fits. */
  async close(): Promise<void> {
    if (!this.#isOpen) return;
    await this.#shut();
    if (!this.#sha256 || this.receivedBytes === 0) await unlink(this.part).catch(() => undefined);
  }

  async #shut(): Promise<void> {
    this.#isOpen = false;
    await this.file.close();
  }

  /** Gives the file its name; false when another download of it to the same place took it away and began anew. */
  async #name(): Promise<boolean> {
    const own = await this.file.stat();
    const isAt = (path: string) =>
      stat(path).then(
        (found) => found.ino === own.ino && found.dev === own.dev,
        () => false,
      );
    await this.#shut();
    if (await isAt(this.part)) {
      await rename(this.part, this.path).catch((error: NodeJS.ErrnoException) => {
        // The other was faster.
        if (error.code !== "ENOENT") throw error;
      });
    }
    return isAt(this.path);
  }

  async #restart(): Promise<void> {
    // In a new file: another download may be at work in this one.
    if (this.#isOpen) await this.file.close();
    await unlink(this.part).catch(() => undefined);
    this.file = await openPart(this.part);
    this.#isOpen = true;
    this.#hash = createHash("sha256");
    this.receivedBytes = 0;
    this.#inherited = false;
  }
}

/** Not for appending: two downloads of one file to one place write the same bytes to the same positions. */
function openPart(part: string): Promise<FileHandle> {
  return open(part, constants.O_RDWR | constants.O_CREAT);
}

async function target(path: string, fileName: string): Promise<string> {
  const isFolder = await stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (!isFolder) return path;
  // A server's name for a file must not lead out of the folder.
  const name = basename(fileName);
  if (["", ".", ".."].includes(name)) {
    throw new DataLossError(Code.DataLoss, `the server names a file ${JSON.stringify(fileName)}, which is no name for one`);
  }
  return join(path, name);
}
