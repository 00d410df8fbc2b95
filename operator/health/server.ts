/** /metrics for Prometheus, /healthz and /readyz for the kubelet. */
import { createServer, type Server } from "node:http";
import type { Registry } from "prom-client";

export interface HealthOptions {
  /** "127.0.0.1:9402", "[::1]:9402", ":9402". */
  readonly address: string;
  readonly registry: Registry;
  /** Reads what is told by /metrics; where it fails, the rest is told all the same. */
  refresh?(): Promise<void>;
  /** Why the process should be started anew; null: it should not. */
  sick(): string | null;
  /** Why it cannot do its work now; null: it can. */
  unready(): string | null;
}

const REQUEST_TIMEOUT_MS = 10_000;

/** @throws Error where the address is none, or taken */
export function serveHealth({
  address,
  registry,
  refresh = async () => {},
  sick,
  unready,
}: HealthOptions): Promise<Server> {
  const { host, port } = parseAddress(address);
  const server = createServer((request, response) => {
    const answer = (status: number, text: string, type = "text/plain; charset=utf-8") => {
      response.writeHead(status, { "content-type": type }).end(text);
    };
    const verdict = (reason: string | null) =>
      answer(reason === null ? 200 : 503, `${reason ?? "ok"}\n`);
    switch (request.url?.split("?")[0]) {
      case "/healthz":
        return verdict(sick());
      case "/readyz":
        return verdict(sick() ?? unready());
      case "/metrics":
        return void tell().then(
          (text) => answer(200, text, registry.contentType),
          (error) => answer(500, `${error}\n`),
        );
      default:
        return answer(404, "There are /metrics, /healthz and /readyz.\n");
    }
  });
  // One after the other: two who ask at once must not see half of each other's figures.
  let last: Promise<string> = Promise.resolve("");
  const tell = () => {
    last = last
      .catch(() => "")
      .then(() => refresh().catch(() => {}))
      .then(() => registry.metrics());
    return last;
  };
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => resolve(server));
  });
}

function parseAddress(address: string): { host: string | undefined; port: number } {
  const match = /^(?:\[(?<six>[^\]]+)\]|(?<four>[^:]*)):(?<port>\d{1,5})$/.exec(address);
  const port = Number(match?.groups?.port);
  if (match === null || port > 65_535) {
    throw new Error(`${JSON.stringify(address)} is no address to listen on; as in 127.0.0.1:9402`);
  }
  const host = match.groups?.six ?? match.groups?.four;
  return { host: host === "" ? undefined : host, port };
}
