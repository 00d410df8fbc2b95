/** Results of resolving, and its input about the node. */
import type { NodeInterface } from "../../model/attachments/index.ts";
import type { SessionClaim } from "../../model/conflicts.ts";
import type { BoundDevice, Session, Tunnel } from "../../model/model.ts";
import type { L2tpSession, L2tpTunnel, SessionSpec } from "../api/types.ts";
import type { Refusal } from "./refusal.ts";

export interface ResolvedTunnel {
  readonly object: L2tpTunnel;
  readonly tunnel: Tunnel;
  /** The reason why datapath Auto did not choose the kernel; null: it did, or the manifest names the datapath. */
  readonly notInKernel: string | null;
  readonly underlayMtu: number;
  /** Describes the missing route to the remote, without which the MTU is a guess; null: there is a route. */
  readonly noRoute: string | null;
  /** True if the node does not have the tunnel's local address now. */
  readonly isAddressLost?: boolean;
}

export interface ResolvedSession {
  readonly object: L2tpSession;
  readonly session: Session;
  readonly tunnel: Tunnel;
  /** The path MTU in bytes that the session's MTU is computed from; while pods are attached, its value at ADD. */
  readonly pathMtu: number;
  readonly mode: NonNullable<NonNullable<SessionSpec["attachment"]>["mode"]>;
  /** Present if an interface of the node has the session, and the agent has looked for it. */
  readonly nodeInterface?: NodeInterface;
  /** Absent: its frames are for pods. */
  readonly switched?: Switched;
}

/** A session that is to be switched to another. */
export interface Switched {
  /** The key of the other session. */
  readonly to: string;
  /** Why its frames go nowhere; null: they go to the other session. */
  readonly whyNot: { readonly reason: string; readonly message: string } | null;
  /** Frames are handed over between two devices on the node. */
  readonly byDevices: boolean;
}

export interface Resolved {
  readonly tunnels: ReadonlyMap<string, ResolvedTunnel>;
  readonly sessions: ReadonlyMap<string, ResolvedSession>;
  readonly refusedTunnels: ReadonlyMap<string, Refusal>;
  readonly refusedSessions: ReadonlyMap<string, Refusal>;
  /** Claims of sessions that are accepted, but cannot be programmed now. */
  readonly waiting?: readonly SessionClaim[];
}

/** IDs of programmed objects, by tunnel name and session key. */
export interface Programmed {
  readonly tunnels: ReadonlyMap<string, number>;
  /** Names of tunnels whose datapath does not share ports with other datapaths (`DatapathTraits.ports`). */
  readonly kernelTunnels: ReadonlySet<string>;
  readonly sessions: ReadonlyMap<string, number>;
  /** Devices that sockets of tunnels are bound to, by tunnel name. */
  readonly devices?: ReadonlyMap<string, BoundDevice>;
  /** The Remote End IDs of sessions in managed tunnels, by key. */
  readonly remoteEndIds?: ReadonlyMap<string, string>;
}
