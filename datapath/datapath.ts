/** What moves the frames: the userspace datapath process (userspace/), or the kernel's own L2TP (kernel/). */

import type { SocketAddress } from "../linux/socket.ts";
import type { Features } from "../model/features.ts";
import type {
  Datapath,
  EndpointCounters,
  Session,
  SessionCounters,
  Tunnel,
} from "../model/model.ts";
import type { SessionControlState, TunnelControlState } from "./control-state.ts";

export type { Features } from "../model/features.ts";

/** Where a device stands: a namespace by path (null: the node's), and its name there. */
export interface DevicePlace {
  readonly netns: string | null;
  readonly name: string;
}

/** One change. Putting again or deleting what is gone does nothing. */
export type Change =
  | { readonly op: "putTunnel"; readonly tunnel: Tunnel }
  /** With its sessions. */
  | { readonly op: "deleteTunnel"; readonly name: string }
  /**
   * `device`: where to open it, or to make it where there is none; "keep" the open one; null: none. The
   * kernel's L2TP makes it on the node, by its name at birth (model/device-name.ts).
   */
  | {
      readonly op: "putSession";
      readonly session: Session;
      readonly device: DevicePlace | "keep" | null;
    }
  /** A TAP device stays: the agent deletes it, and the packets need not stop for that. */
  | { readonly op: "deleteSession"; readonly key: string }
  /** Deletes the device of a session in userspace, wherever it stands. The session stays. */
  | { readonly op: "deleteDevice"; readonly key: string };

/** The sender of a datagram of a session that is not the tunnel's remote. */
export interface UnexpectedSource extends SocketAddress {
  /** Milliseconds since the last of it. */
  readonly msAgo: number;
}

export interface TunnelState {
  readonly tunnel: Tunnel;
  /** Of its local endpoint, which in userspace it may share with other tunnels. */
  readonly endpoint: EndpointCounters;
  /** errno's name where the last datagram could not be sent. */
  readonly lastSendError: string | null;
  /** The last session id that came to its endpoint and that nobody has here; null: none yet. */
  readonly lastUnknownSession: number | null;
  /** The last other address that sent to one of its sessions. */
  readonly lastStranger: UnexpectedSource | null;
  readonly control?: TunnelControlState;
  /** Of a control half: the kernel no longer has the tunnel that it was given the socket of. */
  readonly isLost?: boolean;
}

/** With the features that are in use. */
export interface SessionState extends Features {
  readonly session: Session;
  readonly datapath: Datapath;
  /** False: the device is gone, or was taken away. */
  readonly deviceOpen: boolean;
  /** In userspace: the interface index of the open device, in the namespace where it was opened. */
  readonly deviceIndex?: number;
  /** False: another session has taken its session id over. */
  readonly receiving: boolean;
  readonly counters: SessionCounters;
  /** Milliseconds since the last frame came in; null: none yet. */
  readonly lastReceivedMsAgo: number | null;
  /** Times that the peer was found to have restarted its sequence numbers. */
  readonly resyncs: number;
  readonly control?: SessionControlState;
  /** Of a session in two halves (model/halves.ts): as the kernel has it. */
  readonly carried?: Session;
}

export interface Listing {
  readonly tunnels: readonly TunnelState[];
  readonly sessions: readonly SessionState[];
  /** How often control connections have changed so far; undefined: there can be none. */
  readonly turns?: number;
}
