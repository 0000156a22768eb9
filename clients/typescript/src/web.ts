/** The client for the browser: gRPC-Web, and downloads into memory. */
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import { Code } from "@connectrpc/connect";
import { FootageClient } from "./client.js";
import { DataLossError, type FootageError } from "./errors.js";
import type { Archive } from "./gen/heldar/footage/v1/archive_resources_pb.js";
import type { Clip } from "./gen/heldar/footage/v1/clip_resources_pb.js";
import { callFailure, checkHash, Patience } from "./resuming.js";
import { type CallSettings, tokenInterceptors } from "./services.js";

export * from "./errors.js";
export {
  FootageClient,
  type JobResult,
  type Moment,
  progressLine,
  type ResultOptions,
  RunningJob,
} from "./client.js";
export type { CallSettings } from "./services.js";
export { Code } from "@connectrpc/connect";

/** How to download. */
export interface BlobOptions {
  /** Gets the bytes received and the bytes in all. */
  onProgress?: (receivedBytes: number, totalBytes: number) => void;
  /** Ends the download. */
  signal?: AbortSignal;
}

/**
 * A server, called from a page. `clips`, `archives`, `backups`, `jobs` and `catalog` have every method of the contract.
 *
 * A page of another origin than the server's must be one that HELDAR_CORS_ORIGINS names.
 */
export class Footage extends FootageClient {
  readonly #baseUrl: string;

  /** The URL of the server; the page's own origin unless given. */
  constructor(baseUrl = globalThis.location?.origin ?? "http://127.0.0.1:50051", settings: CallSettings = {}) {
    super(createGrpcWebTransport({ baseUrl, interceptors: tokenInterceptors(settings.token) }), settings);
    this.#baseUrl = baseUrl;
  }

  /** Where a `<video>` or a link finds the file: plain HTTP with ranges, for what need not be held in memory. */
  mediaUrl(what: Clip | Archive): string {
    return new URL(what.url, this.#baseUrl).href;
  }

  /** Fetches a clip or an archive into memory; a broken download goes on where it stopped. Its SHA-256 is checked where the browser can (HTTPS or localhost), else its length. */
  async download(what: Clip | Archive, { onProgress, signal }: BlobOptions = {}): Promise<Blob> {
    const patience = new Patience(this.settings.patienceMs);
    let chunks: Uint8Array<ArrayBuffer>[] = [];
    let receivedBytes = 0;
    let sizeBytes = Number(what.sizeBytes);
    let { sha256 } = what;
    let etag: string | undefined;
    for (;;) {
      let failure: FootageError | undefined;
      try {
        const from = { offsetBytes: BigInt(receivedBytes) };
        const messages =
          what.$typeName === "heldar.footage.v1.Archive"
            ? this.archives.downloadArchive({ archiveId: what.id, ...from }, { signal })
            : this.clips.downloadClip({ clipId: what.id, ...from }, { signal });
        for await (const { content } of messages) {
          if (content.case === "header") {
            checkHash(what, content.value);
            const changed = etag !== undefined && etag !== content.value.etag;
            ({ sha256, etag } = content.value);
            sizeBytes = Number(content.value.totalSizeBytes);
            if (changed) {
              chunks = [];
              receivedBytes = 0;
              if (content.value.offsetBytes !== 0n) break;
            }
          } else if (content.case === "data") {
            patience.reset();
            chunks.push(content.value as Uint8Array<ArrayBuffer>);
            receivedBytes += content.value.length;
            onProgress?.(receivedBytes, sizeBytes);
          }
        }
      } catch (error) {
        signal?.throwIfAborted();
        failure = callFailure(error);
      }
      if (failure === undefined && receivedBytes >= sizeBytes) break;
      await patience.pauseAfter(failure, signal);
    }
    const blob = new Blob(chunks, { type: "mediaType" in what ? what.mediaType : "application/zip" });
    const found = await digest(blob);
    if (receivedBytes !== sizeBytes || (sha256 && found && found !== sha256)) {
      throw new DataLossError(Code.DataLoss, `${what.fileName}: ${receivedBytes} bytes with SHA-256 ${found} came, not ${sizeBytes} with ${sha256}`);
    }
    return blob;
  }
}

/** The SHA-256 of a blob; empty where the browser has no way to know. */
async function digest(blob: Blob): Promise<string> {
  if (globalThis.crypto?.subtle === undefined) return "";
  const bytes = await crypto.subtle.digest("SHA-256", await blob.arrayBuffer());
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
