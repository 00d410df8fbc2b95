/** Serves /metrics for Prometheus, and /healthz and /readyz for the kubelet. */
import { Worker } from "node:worker_threads";
import type { Registry } from "prom-client";
import type { Health } from "./pages.ts";
import type { Answers, FromWorker, ListenOptions, Question, ToWorker } from "./worker.ts";

/** Address and content of the pages. */
export interface HealthOptions {
  /** "127.0.0.1:9402", "[::1]:9402", ":9402". */
  readonly address: string;
  readonly registry: Registry;
  /** Updates metrics before /metrics is rendered. If it fails, the other metrics are served. */
  refresh?(): Promise<void>;
  /** @returns a reason for restarting the process; null: healthy */
  sick(): string | null;
  /** @returns a reason why the process cannot work now; null: ready */
  unready(): string | null;
}

/** A running server. */
export interface HealthServer {
  readonly port: number;
  close(): Promise<void>;
}

const PROGRAM = new URL("./worker.ts", import.meta.url);
const RESTART_MS = 1000;
/** Memory of the worker: /metrics of ten thousand sessions has 10 MB. */
const RESOURCE_LIMITS = { maxOldGenerationSizeMb: 128, maxYoungGenerationSizeMb: 8 };

type Respond = (question: Question) => Promise<ToWorker>;

/** Starts the server in a worker thread. @throws Error if the address is invalid or in use */
export async function serveHealth(options: HealthOptions): Promise<HealthServer> {
  const listen = parseAddress(options.address);
  const respond = responder(options);
  let closed = false;
  let current: Worker | undefined;
  const start = async (at: ListenOptions): Promise<number> => {
    const { worker, port } = await startWorker(at, respond);
    current = worker;
    if (closed) await worker.terminate();
    worker.once("exit", () => restart({ ...at, port }));
    return port;
  };
  // Restart a worker that has exited. Nothing else depends on it.
  const restart = (at: ListenOptions) => {
    if (closed) return;
    setTimeout(() => {
      if (!closed) start(at).catch(() => restart(at));
    }, RESTART_MS).unref();
  };
  const port = await start(listen);
  return {
    port,
    async close() {
      closed = true;
      await current?.terminate();
    },
  };
}

/** @throws Error if the worker cannot listen */
function startWorker(
  listen: ListenOptions,
  respond: Respond,
): Promise<{ readonly worker: Worker; readonly port: number }> {
  const worker = new Worker(PROGRAM, { workerData: listen, resourceLimits: RESOURCE_LIMITS });
  return new Promise((resolve, reject) => {
    const fail = async (message: string) => {
      await worker.terminate();
      reject(new Error(message));
    };
    worker.on("error", (error) => void fail(error instanceof Error ? error.message : `${error}`));
    worker.on("message", (message: FromWorker) => {
      if (message.is === "listening") resolve({ worker, port: message.port });
      else if (message.is === "refused") void fail(message.message);
      else void respond(message.about).then((reply) => worker.postMessage(reply));
    });
  });
}

function responder({ registry, refresh, sick, unready }: HealthOptions): Respond {
  const answers: { [Q in Question]: () => Promise<Answers[Q]> } = {
    health: async (): Promise<Health> => ({ sick: sick(), unready: unready() }),
    async metrics() {
      await refresh?.().catch(() => {});
      return { text: await registry.metrics(), contentType: registry.contentType };
    },
  };
  return async (about) => {
    try {
      return { about, answer: await answers[about]() } as ToWorker;
    } catch (error) {
      return { about, error: error instanceof Error ? error.message : String(error) } as ToWorker;
    }
  };
}

function parseAddress(address: string): ListenOptions {
  const match = /^(?:\[(?<six>[^\]]+)\]|(?<four>[^:]*)):(?<port>\d{1,5})$/.exec(address);
  const port = Number(match?.groups?.port);
  if (match === null || port > 65_535) {
    throw new Error(`invalid listen address ${JSON.stringify(address)}; use HOST:PORT or :PORT`);
  }
  const host = match.groups?.six ?? match.groups?.four;
  return { host: host === "" ? undefined : host, port };
}
