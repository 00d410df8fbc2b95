/**
 * The control protocol of the datapath process: newline-delimited JSON over its unix socket (mode
 * 0600). It carries cookies, and never a packet. Each request has one reply, in order.
 */

import type { Reply } from "../../rpc/errors.ts";
import type { Change, Listing } from "../datapath.ts";

export type Request =
  | { readonly op: "hello" }
  /** With `sessions`, those of them that there are, and no tunnels. */
  | { readonly op: "list"; readonly sessions?: readonly string[] }
  /** `turns` of a listing, without the listing. */
  | { readonly op: "turns" }
  /** The changes one after the other; one that fails does not stop the next. */
  | { readonly op: "apply"; readonly changes: readonly Change[] }
  /** Ends the process; devices stay. */
  | { readonly op: "shutdown" };

export interface Hello {
  readonly version: string;
  readonly pid: number;
}

/** The bound of one request or reply: a listing of some ten thousand sessions. */
export const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

export interface Results {
  readonly hello: Hello;
  readonly list: Listing;
  readonly turns: number;
  /** By change, in order. */
  readonly apply: readonly Reply<null>[];
  readonly shutdown: null;
}
