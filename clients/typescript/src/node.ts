/** The client for Node: gRPC over HTTP/2, and downloads to files. */
import type { SecureClientSessionOptions } from "node:http2";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";
import { serverUrl } from "./address.js";
import { FootageClient } from "./client.js";
import { type DownloadOptions, saveFile } from "./download.js";
import type { Archive } from "./gen/heldar/footage/v1/archive_resources_pb.js";
import type { Clip } from "./gen/heldar/footage/v1/clip_resources_pb.js";
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
export type { DownloadOptions } from "./download.js";
export type { CallSettings } from "./services.js";
export { Code } from "@connectrpc/connect";

/** How to reach the server. */
export interface FootageOptions extends CallSettings {
  /** TLS as `node:tls` has it: `ca`, `cert`, `key`, `servername`. An address with https:// means TLS, too. */
  tls?: boolean | Pick<SecureClientSessionOptions, "ca" | "cert" | "key" | "passphrase" | "servername">;
}

/**
 * A connection to a server. One is enough for a program.
 *
 * `clips`, `archives`, `backups`, `jobs` and `catalog` have every method of the contract. Their calls get a deadline, a
 * `requestId` and the token, are repeated while the server is away where that is safe, and throw FootageError.
 */
export class Footage extends FootageClient {
  readonly #session: Http2SessionManager;

  /**
   * The address is `host:port`, or begins with http:// or, for TLS, https://. Without a port it is the scheme's, or that of
   * the service where there is no scheme.
   */
  constructor(address = "127.0.0.1:50051", options: FootageOptions = {}) {
    const baseUrl = serverUrl(address, Boolean(options.tls));
    const nodeOptions = typeof options.tls === "object" ? options.tls : undefined;
    // A connection that gives no sign of life is given up, so that a stream on it ends and is resumed.
    const session = new Http2SessionManager(
      baseUrl,
      { pingIntervalMs: 20_000, pingTimeoutMs: 10_000, pingIdleConnection: false },
      nodeOptions,
    );
    const transport = createGrpcTransport({
      baseUrl,
      sessionManager: session,
      interceptors: tokenInterceptors(options.token),
    });
    super(transport, options);
    this.#session = session;
  }

  /** Ends the connection and every call on it; jobs go on. An idle connection does not keep a program from ending. */
  close(): void {
    this.#session.abort();
  }

  /**
   * Saves a clip or an archive and returns where: at `path`, or under its own name in the folder `path`.
   *
   * Until it is whole and its SHA-256 is right it has a temporary name. A broken download goes on where it stopped, also
   * when the program is started again.
   */
  download(what: Clip | Archive, path = ".", options: DownloadOptions = {}): Promise<string> {
    return saveFile(this, what, path, options);
  }
}

/** A signal that aborts at the first Ctrl-C, for `RunningJob.result`. A second Ctrl-C ends the program as ever. */
export function interruptSignal(): AbortSignal {
  const controller = new AbortController();
  process.once("SIGINT", () => controller.abort(new Error("interrupted")));
  return controller.signal;
}
