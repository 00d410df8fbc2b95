/**
 * The control protocol of the datapath process: newline-delimited JSON over its unix socket (mode 0600). Messages
 * contain cookies, but no packets. Each request has one reply, in order.
 */

import type { Reply } from "../../rpc/errors.ts";
import type { Change, Listing } from "../datapath.ts";

export type Request =
  | { readonly op: "hello" }
  /** With `sessions`: only the existing sessions with these keys, and no tunnels. */
  | { readonly op: "list"; readonly sessions?: readonly string[] }
  /** Only `turns` of a listing. */
  | { readonly op: "turns" }
  /** Applies changes in order. A change that fails does not stop the next. */
  | { readonly op: "apply"; readonly changes: readonly Change[] }
  /** Stops the process. Its devices remain. */
  | { readonly op: "shutdown" };

export interface Hello {
  readonly version: string;
  readonly pid: number;
}

/** The limit of a request or reply: a listing of some ten thousand sessions. */
export const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

export interface Results {
  readonly hello: Hello;
  readonly list: Listing;
  readonly turns: number;
  /** A reply for each change, in order. */
  readonly apply: readonly Reply<null>[];
  readonly shutdown: null;
}
