/** /metrics for Prometheus, /healthz and /readyz for the kubelet: what this process says on them. */
import { Worker } from "node:worker_threads";
import type { Registry } from "prom-client";
import type { Health } from "./pages.ts";
import type { Answers, FromWorker, ListenOptions, Question, ToWorker } from "./worker.ts";

export interface HealthOptions {
  /** "127.0.0.1:9402", "[::1]:9402", ":9402". */
  readonly address: string;
  readonly registry: Registry;
  /** Reads what is told by /metrics; where it fails, the rest is told all the same. */
  refresh?(): Promise<void>;
  /** Why the process should be restarted; null: it should not. */
  sick(): string | null;
  /** Why it cannot do its work now; null: it can. */
  unready(): string | null;
}

export interface HealthServer {
  readonly port: number;
  close(): Promise<void>;
}

const PROGRAM = new URL("./worker.ts", import.meta.url);
const RESTART_MS = 1000;
/** The pages and their readers need little; the page of ten thousand sessions has 10 MB. */
const RESOURCE_LIMITS = { maxOldGenerationSizeMb: 128, maxYoungGenerationSizeMb: 8 };

type Respond = (question: Question) => Promise<ToWorker>;

/** @throws Error where the address is none, or taken */
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
  // The pages must come back, and nothing else depends on them.
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

/** @throws Error where the worker cannot listen */
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
    throw new Error(`${JSON.stringify(address)} is no address to listen on; as in 127.0.0.1:9402`);
  }
  const host = match.groups?.six ?? match.groups?.four;
  return { host: host === "" ? undefined : host, port };
}
