/** The methods of a service, with what every call needs: deadline, request id, repetition, typed errors. */
import type { DescMethod, DescService } from "@bufbuild/protobuf";
import { type CallOptions, type Client, Code, createClient, type Interceptor, type Transport } from "@connectrpc/connect";
import { fromCall } from "./errors.js";
import { isRepeatable, passes, Patience, withRequestId } from "./resuming.js";

/** What all calls of a client have in common. */
export interface CallSettings {
  /** Longest that a call may take, beyond the `wait` of its request; default 30 s. Streams have no such limit. */
  timeoutMs?: number;
  /** How long a job or a download outlasts a server that is away, from the first failure after something came; default 120 s. */
  patienceMs?: number;
  /** Sent as `authorization: Bearer`, for the proxy before the server. */
  token?: string;
}

/** Settings with defaults filled in. */
export type FilledSettings = Required<Omit<CallSettings, "token">>;

/** Puts the token on each call. */
export function tokenInterceptors(token: string | undefined): Interceptor[] {
  if (!token) return [];
  return [
    (next) => (request) => {
      request.header.set("authorization", `Bearer ${token}`);
      return next(request);
    },
  ];
}

/** A client of a service whose calls behave. */
export function serviceClient<S extends DescService>(service: S, transport: Transport, settings: FilledSettings): Client<S> {
  const raw = createClient(service, transport) as Record<string, (request: unknown, options?: CallOptions) => unknown>;
  const wrapped: Record<string, unknown> = {};
  for (const method of service.methods) {
    const call = raw[method.localName]!;
    switch (method.methodKind) {
      case "unary":
        wrapped[method.localName] = unary(method, call as never, settings);
        break;
      case "server_streaming":
        wrapped[method.localName] = (request: unknown, options?: CallOptions) => streamed(call(request, options) as never);
        break;
      default:
        wrapped[method.localName] = async (requests: unknown, options?: CallOptions) => {
          try {
            return await call(requests, options);
          } catch (error) {
            throw fromCall(error);
          }
        };
    }
  }
  return wrapped as Client<S>;
}

function unary(
  method: DescMethod,
  call: (request: object, options?: CallOptions) => Promise<unknown>,
  settings: FilledSettings,
): (request: object, options?: CallOptions) => Promise<unknown> {
  return async (given, options = {}) => {
    const request = withRequestId(method.input, given);
    const waitMs = Number((request as { wait?: { seconds?: bigint } }).wait?.seconds ?? 0n) * 1000;
    const timeoutMs = options.timeoutMs ?? settings.timeoutMs + Math.max(waitMs, 0);
    const patience = new Patience(timeoutMs);
    const giveUpAt = Date.now() + timeoutMs;
    for (;;) {
      try {
        // All attempts together have the time of one call.
        return await call(request, { ...options, timeoutMs: Math.max(giveUpAt - Date.now(), 1) });
      } catch (error) {
        const failure = fromCall(error);
        // A server that asks for patience because it is full is the caller's to decide about.
        const isAway = failure.code === Code.Unavailable || (failure.reason === "" && passes(failure));
        if (options.signal?.aborted || !isAway || !isRepeatable(method, request)) throw failure;
        await patience.pauseAfter(failure, options.signal);
      }
    }
  };
}

async function* streamed<T>(messages: AsyncIterable<T>): AsyncGenerator<T> {
  try {
    yield* messages;
  } catch (error) {
    throw fromCall(error);
  }
}
