/** A streamed answer: items, each a line `{"item": …}`, and then an ordinary reply. */

/** Sends items to the client. */
export interface Outlet {
  /** Aborted when the client has closed its side. */
  readonly closed: AbortSignal;
  /** Sends an item. @returns false if the item is lost, because the client reads too slowly or is closed */
  send(item: unknown): boolean;
}

/** The result of a handler that answers with a stream. */
export class ReplyStream {
  /** Sends the items. The returned value or the thrown error is the reply after the last item. */
  readonly run: (outlet: Outlet) => Promise<unknown>;

  constructor(run: (outlet: Outlet) => Promise<unknown>) {
    this.run = run;
  }
}
