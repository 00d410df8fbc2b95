/** An answer of many lines: items as they come, each `{"item": …}`, and then a reply like any other. */

/** How items go to the client. */
export interface Outlet {
  /** Aborted when the client has gone, or has closed its side. */
  readonly closed: AbortSignal;
  /** Sends an item. False: the client reads too slowly, and the item is lost. */
  send(item: unknown): boolean;
}

/** The result of a handler that answers with many lines. */
export class ReplyStream {
  /** Sends the items. What it returns, or throws, is the reply that ends them. */
  readonly run: (outlet: Outlet) => Promise<unknown>;

  constructor(run: (outlet: Outlet) => Promise<unknown>) {
    this.run = run;
  }
}
