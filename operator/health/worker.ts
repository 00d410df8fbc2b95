/** Thread that serves the pages, so that a flood of requests does not delay the process's work. */
import type { AddressInfo } from "node:net";
import { constants, setPriority } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import { createPages, type Health, type MetricsPage, type PageSource } from "./pages.ts";

/** Address to listen on. */
export interface ListenOptions {
  readonly host: string | undefined;
  readonly port: number;
}

/** Answers of the main thread, by question. The worker has at most one open question of each kind. */
export interface Answers {
  readonly health: Health;
  readonly metrics: MetricsPage;
}
export type Question = keyof Answers;

export type FromWorker =
  | { readonly is: "listening"; readonly port: number }
  | { readonly is: "refused"; readonly message: string }
  | { readonly is: "question"; readonly about: Question };

export type ToWorker = {
  readonly [Q in Question]:
    | { readonly about: Q; readonly answer: Answers[Q] }
    | { readonly about: Q; readonly error: string };
}[Question];

if (parentPort !== null) serve(parentPort, workerData as ListenOptions);

function serve(port: NonNullable<typeof parentPort>, listen: ListenOptions): void {
  // Linux sets the priority of the calling thread only, so the process's work has priority.
  setPriority(constants.priority.PRIORITY_BELOW_NORMAL);
  const tell = (message: FromWorker) => port.postMessage(message);
  const waiting: { [Q in Question]?: (reply: ToWorker) => void } = {};
  port.on("message", (reply: ToWorker) => {
    const take = waiting[reply.about];
    delete waiting[reply.about];
    take?.(reply);
  });
  const ask = <Q extends Question>(about: Q) =>
    new Promise<Answers[Q]>((resolve, reject) => {
      // A late answer to a previous question answers the next one.
      waiting[about] = (reply) => {
        if ("error" in reply) reject(new Error(reply.error));
        else resolve(reply.answer as Answers[Q]);
      };
      tell({ is: "question", about });
    });
  const source: PageSource = { health: () => ask("health"), metrics: () => ask("metrics") };
  const server = createPages(source);
  server.once("error", ({ message }) => tell({ is: "refused", message }));
  server.listen(listen.port, listen.host, () =>
    tell({ is: "listening", port: (server.address() as AddressInfo).port }),
  );
}
