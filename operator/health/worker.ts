/** The thread that serves the pages: a flood of requests takes no time from the process's own work. */
import type { AddressInfo } from "node:net";
import { constants, setPriority } from "node:os";
import { parentPort, workerData } from "node:worker_threads";
import { createPages, type Health, type MetricsPage, type PageSource } from "./pages.ts";

export interface ListenOptions {
  readonly host: string | undefined;
  readonly port: number;
}

/** What the process answers; asked one after the other. */
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
  // Linux sets the priority of the calling thread alone: on one processor, too, the process's work goes first.
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
      // One that is late still counts as the answer to the question after it.
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
