/**
 * Queues received messages, with a queue for each sender. Senders are served in turn, so none delays another.
 */

/** A peer sends at most its window, and as many acknowledgments, before it receives an answer. */
const MAX_WAITING = 64;

interface Queue<S, M> {
  readonly sender: S;
  readonly messages: M[];
}

export class Inbox<S, M> {
  readonly #queues = new Map<S, Queue<S, M>>();
  /** The senders with queued messages, in the order of their turns. */
  readonly #turns: Queue<S, M>[] = [];

  get isEmpty(): boolean {
    return this.#turns.length === 0;
  }

  hasRoom(sender: S): boolean {
    const queue = this.#queues.get(sender);
    return queue === undefined || queue.messages.length < MAX_WAITING;
  }

  put(sender: S, message: M): void {
    const queue = this.#queues.get(sender);
    if (queue !== undefined) {
      queue.messages.push(message);
      return;
    }
    const begun: Queue<S, M> = { sender, messages: [message] };
    this.#queues.set(sender, begun);
    this.#turns.push(begun);
  }

  /** Removes and returns the first message of the next sender; undefined: no message is queued. */
  take(): M | undefined {
    const queue = this.#turns.shift();
    if (queue === undefined) return undefined;
    const message = queue.messages.shift();
    if (queue.messages.length > 0) this.#turns.push(queue);
    else this.#queues.delete(queue.sender);
    return message;
  }
}
