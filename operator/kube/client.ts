/** Sends requests to the API server, in JSON. The only file that uses HTTP. */
import http from "node:http";
import https from "node:https";
import { LineSplitter } from "../../rpc/lines.ts";
import type { ClusterAccess } from "./access.ts";
import { fromStatus, KubeError, type StatusBody } from "./errors.ts";

export type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

/** One request. */
export interface KubeRequest {
  readonly method: Method;
  /** "/api/v1/nodes/n1", with encoded parts. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | undefined>>;
  readonly body?: unknown;
  readonly contentType?: string;
  /** Timeout of the whole response; default 30 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** Called after each request, for metrics. `code`: the HTTP status, or an errno name. */
export type RequestObserver = (method: Method, code: string, seconds: number) => void;

const REQUEST_TIMEOUT_MS = 30_000;
const MAX_ATTEMPTS = 5;
/** Minimum wait before a retry, also if the server's Retry-After is 0. */
const MIN_RETRY_MS = 200;
const MAX_RETRY_AFTER_MS = 30_000;
/** Maximum size of a response, and of a line of a watch. */
const MAX_BODY_BYTES = 128 * 1024 * 1024;
const MAX_LINE_BYTES = 4 * 1024 * 1024;
const APPLY = "application/apply-patch+yaml";

/** Client of one API server. */
export class KubeClient {
  readonly #access: ClusterAccess;
  readonly #agent: http.Agent;
  readonly #observe: RequestObserver;
  readonly #userAgent: string;

  constructor(access: ClusterAccess, userAgent: string, observe: RequestObserver = () => {}) {
    this.#access = access;
    const { Agent } = access.server.protocol === "http:" ? http : https;
    this.#agent = new Agent({ keepAlive: true, keepAliveMsecs: 30_000 });
    this.#userAgent = userAgent;
    this.#observe = observe;
  }

  get server(): string {
    return this.#access.server.origin;
  }

  close(): void {
    this.#agent.destroy();
  }

  /**
   * Returns the response's JSON. Retries after the server's Retry-After.
   * @throws KubeError
   */
  async request<T>(request: KubeRequest): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.#once<T>(request);
      } catch (error) {
        const wait = error instanceof KubeError ? error.retryAfterMs : null;
        if (wait === null || attempt === MAX_ATTEMPTS || wait > MAX_RETRY_AFTER_MS) throw error;
        await pause(Math.max(MIN_RETRY_MS, wait) * (1 + Math.random() / 4), request.signal);
      }
    }
  }

  get<T>(path: string, query?: KubeRequest["query"], signal?: AbortSignal): Promise<T> {
    return this.request<T>({ method: "GET", path, ...optional({ query, signal }) });
  }

  /**
   * Server-side apply: sets these fields of the object, and removes fields that the same manager has applied
   * before and that `body` does not have.
   */
  apply<T>(path: string, body: object, fieldManager: string): Promise<T> {
    const query = { fieldManager, force: "true" };
    return this.request<T>({ method: "PATCH", path, query, body, contentType: APPLY });
  }

  /**
   * Yields the parsed lines of an endless response.
   * @throws KubeError if the request is refused, or the connection breaks
   */
  async *stream<T>(
    path: string,
    query: KubeRequest["query"],
    signal: AbortSignal,
  ): AsyncGenerator<T, void, void> {
    const response = await this.#send({ method: "GET", path, ...optional({ query }), signal });
    const lines = new LineSplitter(MAX_LINE_BYTES);
    try {
      for await (const chunk of response) {
        for (const line of lines.push(chunk as Buffer)) yield JSON.parse(line) as T;
      }
    } catch (error) {
      throw asKubeError(`GET ${path}`, error);
    } finally {
      response.destroy();
    }
  }

  async #once<T>(request: KubeRequest): Promise<T> {
    const timeout = AbortSignal.timeout(request.timeoutMs ?? REQUEST_TIMEOUT_MS);
    const signal = request.signal ? AbortSignal.any([request.signal, timeout]) : timeout;
    const what = `${request.method} ${request.path}`;
    try {
      const response = await this.#send({ ...request, signal });
      return JSON.parse(await readAll(response)) as T;
    } catch (error) {
      if (timeout.aborted) throw new KubeError(0, "ETIMEDOUT", `${what}: request timed out`);
      throw asKubeError(what, error);
    }
  }

  /** Returns the response after its headers have arrived. @throws KubeError if the status is an error */
  async #send(request: KubeRequest): Promise<http.IncomingMessage> {
    const started = performance.now();
    const what = `${request.method} ${request.path}`;
    const done = (code: string) =>
      this.#observe(request.method, code, (performance.now() - started) / 1000);
    let response: http.IncomingMessage;
    try {
      response = await this.#open(request);
    } catch (error) {
      const failure = asKubeError(what, error);
      done(failure.reason);
      throw failure;
    }
    const status = response.statusCode ?? 0;
    done(String(status));
    if (status < 400) return response;
    const body = parseStatus(await readAll(response).catch(() => ""));
    throw fromStatus(what, status, body, response.headers["retry-after"]);
  }

  async #open({ method, path, query, body, ...rest }: KubeRequest): Promise<http.IncomingMessage> {
    const { server, isProxied } = this.#access;
    const options = await this.#access.requestOptions();
    const url = new URL(server.pathname.replace(/\/$/, "") + path, server);
    for (const [name, value] of Object.entries(query ?? {})) {
      if (value !== undefined) url.searchParams.set(name, value);
    }
    const payload = body === undefined ? undefined : Buffer.from(JSON.stringify(body));
    const { request } = url.protocol === "http:" ? http : https;
    return new Promise((resolve, reject) => {
      const outgoing = request(url, {
        ...options,
        agent: isProxied ? options.agent : this.#agent,
        method,
        signal: rest.signal,
        headers: {
          ...options.headers,
          accept: "application/json",
          "user-agent": this.#userAgent,
          ...(payload === undefined
            ? {}
            : {
                "content-type": rest.contentType ?? "application/json",
                "content-length": String(payload.length),
              }),
        },
      });
      outgoing.once("response", resolve);
      outgoing.once("error", reject);
      outgoing.end(payload);
    });
  }
}

/** Returns the object without its undefined properties. */
export function optional<T extends object>(
  fields: T,
): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const entries = Object.entries(fields).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [K in keyof T]?: Exclude<T[K], undefined> };
}

/** Waits. @throws the signal's reason, as soon as the signal is aborted */
export function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const aborted = () => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", aborted);
      resolve();
    }, milliseconds);
    if (signal?.aborted) aborted();
    else signal?.addEventListener("abort", aborted, { once: true });
  });
}

async function readAll(response: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of response) {
    size += (chunk as Buffer).length;
    if (size > MAX_BODY_BYTES) throw new RangeError(`response exceeds ${MAX_BODY_BYTES} bytes`);
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parseStatus(text: string): StatusBody {
  try {
    return JSON.parse(text) as StatusBody;
  } catch {
    // The body is a proxy's page, or empty.
    return { message: text.slice(0, 200) };
  }
}

function asKubeError(what: string, error: unknown): KubeError {
  if (error instanceof KubeError) return error;
  const { name, code, message } = error as { name?: string; code?: string; message?: string };
  return new KubeError(0, code ?? name ?? "EIO", `${what}: ${message ?? String(error)}`);
}
