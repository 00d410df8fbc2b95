/** The first thread's hold on a shard that has a thread of its own. */
import { MessageChannel, receiveMessageOnPort, Worker } from "node:worker_threads";
import { createEvent, signalEvent } from "../../../../linux/event.ts";
import { RemoteError } from "../../../../rpc/errors.ts";
import type { ShardOptions } from "../shard.ts";
import type { ShardReply, ShardRequest, ShardResults, ThreadData } from "./protocol.ts";
import type { Share } from "./steering.ts";

const PROGRAM = new URL("./worker.ts", import.meta.url);
/** Less than a client's patience. */
const REPLY_TIMEOUT_MS = 20_000;

export class ShardThread {
  readonly #port;
  readonly #replies = new Int32Array(new SharedArrayBuffer(4));
  readonly #wake = createEvent();
  readonly #name: string;
  readonly #log: ShardOptions["log"];

  /** @throws SystemError */
  constructor({ offload, log }: ShardOptions, share: Share) {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    this.#name = `thread ${share.index + 1} of ${share.count}`;
    this.#log = log;
    const workerData: ThreadData = {
      share,
      offload,
      port: port2,
      replies: this.#replies,
      wake: this.#wake,
    };
    new Worker(PROGRAM, { workerData, transferList: [port2] });
  }

  /**
   * Waits until the thread has done it, between two of its rounds. Where a thread does not answer, the process ends:
   * it would carry nothing for some tunnels, and nobody would know.
   * @throws RemoteError what the shard says
   */
  call<R extends ShardRequest>(request: R): ShardResults[R["op"]] {
    const before = Atomics.load(this.#replies, 0);
    this.#port.postMessage(request);
    signalEvent(this.#wake);
    const outcome = Atomics.wait(this.#replies, 0, before, REPLY_TIMEOUT_MS);
    const reply = outcome === "timed-out" ? undefined : receiveMessageOnPort(this.#port);
    if (reply === undefined) {
      this.#log(`${this.#name} does not answer`);
      process.kill(process.pid, "SIGKILL");
    }
    const message = (reply as { message: ShardReply }).message;
    if ("error" in message) throw new RemoteError(message.error);
    return message.result as ShardResults[R["op"]];
  }
}
