/** API server for tests. Returns prepared answers, also those that a real server returns only in case of errors. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { directAccess } from "./access.ts";
import { KubeClient } from "./client.ts";

export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly body: string;
}

export type Answer = (asked: Asked, response: ServerResponse) => void;

export class FakeServer {
  readonly asked: Asked[] = [];
  readonly client: KubeClient;
  readonly #server: Server;
  /** Answers to the next requests. The last answer is repeated. */
  readonly answers: Answer[];

  private constructor(server: Server, answers: Answer[]) {
    this.#server = server;
    this.answers = answers;
    server.on("request", (request, response) => void this.#answer(request, response));
    this.client = clientOf(server);
  }

  static async start(...answers: Answer[]): Promise<FakeServer> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new FakeServer(server, answers);
  }

  stop(): void {
    this.client.close();
    this.#server.closeAllConnections();
    this.#server.close();
  }

  /** Returns the queries of all requests, for comparison. */
  get queries(): string[] {
    return this.asked.map(({ query }) =>
      [...query].map(([name, value]) => `${name}=${value}`).join("&"),
    );
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "", "http://fake");
    let body = "";
    for await (const chunk of request) body += chunk;
    const { method = "" } = request;
    const asked = { method, path: url.pathname, query: url.searchParams, body };
    this.asked.push(asked);
    const answer = this.answers.length > 1 ? this.answers.shift() : this.answers[0];
    answer?.(asked, response);
  }
}

export function clientOf(server: Server): KubeClient {
  const { port } = server.address() as AddressInfo;
  const access = directAccess({ server: new URL(`http://127.0.0.1:${port}`) });
  return new KubeClient(access, "test");
}

export const json =
  (body: unknown, status = 200, headers: Record<string, string> = {}): Answer =>
  (_asked, response) => {
    response.writeHead(status, { "content-type": "application/json", ...headers });
    response.end(JSON.stringify(body));
  };

/** Answers with a watch that sends these events, and then ends, breaks, or stays silent. */
export const watch =
  (events: readonly object[], then: "end" | "break" | "silence"): Answer =>
  (_asked, response) => {
    response.writeHead(200, { "content-type": "application/json" });
    response.write(events.map((event) => `${JSON.stringify(event)}\n`).join(""));
    if (then === "end") response.end();
    else if (then === "break") setTimeout(() => response.destroy(), 20);
    else response.flushHeaders();
  };

/** Returns a page of a list. */
export function page(
  names: readonly string[],
  resourceVersion: string,
  next?: string,
): { readonly metadata: object; readonly items: readonly object[] } {
  return {
    metadata: { resourceVersion, ...(next && { continue: next }) },
    items: names.map((name) => thing(name, "1")),
  };
}

export function thing(name: string, resourceVersion: string): object {
  const managedFields = [{ manager: "another" }];
  return { metadata: { name, namespace: "shop", resourceVersion, managedFields } };
}
