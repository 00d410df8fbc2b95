/**
 * The control protocol of the datapath process: newline-delimited JSON over its unix socket (mode
 * 0600). It carries cookies, and never a packet. Each request has one reply, in order.
 */

import type { EndpointCounters, Session, SessionCounters, Tunnel } from "../../l2tp/model.ts";
import type { Reply } from "../../rpc/errors.ts";
import type { SocketAddress } from "../sys/socket.ts";

/** Where a TAP device stands: a namespace by path (null: the datapath's own), and its name there. */
export interface DevicePlace {
  readonly netns: string | null;
  readonly name: string;
}

/** One change. All are idempotent: putting again or deleting what is gone does nothing. */
export type Change =
  | { readonly op: "putTunnel"; readonly tunnel: Tunnel }
  /** With its sessions. */
  | { readonly op: "deleteTunnel"; readonly name: string }
  /** `device`: where to open it, or to make it where there is none; "keep" the open one; null: none. */
  | {
      readonly op: "putSession";
      readonly session: Session;
      readonly device: DevicePlace | "keep" | null;
    }
  /** Its device stays: whoever has moved it removes it, and need not stop the packets for that. */
  | { readonly op: "deleteSession"; readonly key: string };

export type Request =
  | { readonly op: "hello" }
  /** With `sessions`, those of them that there are, and no tunnels. */
  | { readonly op: "list"; readonly sessions?: readonly string[] }
  /** The changes one after the other; one that fails does not stop the next. */
  | { readonly op: "apply"; readonly changes: readonly Change[] }
  /** Ends the process; devices stay. */
  | { readonly op: "shutdown" };

export interface Hello {
  readonly version: string;
  readonly pid: number;
}

export interface TunnelState {
  readonly tunnel: Tunnel;
  /** Of its local endpoint, which it may share with other tunnels. */
  readonly endpoint: EndpointCounters;
  /** errno's name where the last datagram could not be sent. */
  readonly lastSendError: string | null;
  /** The last session id that came to its endpoint and that nobody has here; null: none yet. */
  readonly lastUnknownSession: number | null;
  /** Who else sent to one of its sessions last. */
  readonly lastStranger: SocketAddress | null;
}

export interface SessionState {
  readonly session: Session;
  /** False: the device is gone, or was taken away. */
  readonly deviceOpen: boolean;
  /** False: another session has taken its session id over. */
  readonly receiving: boolean;
  readonly counters: SessionCounters;
  /** Milliseconds since the last frame came in; null: none yet. */
  readonly lastReceivedMsAgo: number | null;
  /** Times that the peer was found to have restarted its sequence numbers. */
  readonly resyncs: number;
}

export interface Listing {
  readonly tunnels: readonly TunnelState[];
  readonly sessions: readonly SessionState[];
}

/** The bound of one request or reply: a listing of some ten thousand sessions. */
export const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;

export interface Results {
  readonly hello: Hello;
  readonly list: Listing;
  /** By change, in order. */
  readonly apply: readonly Reply<null>[];
  readonly shutdown: null;
}
