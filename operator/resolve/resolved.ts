/** The results of resolving, and what it is told of the node. */
import type { SessionClaim } from "../../model/conflicts.ts";
import type { BoundDevice, Session, Tunnel } from "../../model/model.ts";
import type { L2tpSession, L2tpTunnel, SessionSpec } from "../api/types.ts";
import type { Refusal } from "./refusal.ts";

export interface ResolvedTunnel {
  readonly object: L2tpTunnel;
  readonly tunnel: Tunnel;
  /** Why it is not the kernel that serves it, where its manifest leaves that open. */
  readonly notInKernel: string | null;
  readonly underlayMtu: number;
  /** The MTU is a guess, since there is no route to the remote now. */
  readonly noRoute: string | null;
  /** The node does not have the tunnel's local address now. */
  readonly isAddressLost?: boolean;
}

export interface ResolvedSession {
  readonly object: L2tpSession;
  readonly session: Session;
  readonly tunnel: Tunnel;
  /** Bytes of the path's largest packet from which the session's MTU follows: as it was when its pods attached. */
  readonly pathMtu: number;
  readonly mode: NonNullable<NonNullable<SessionSpec["attachment"]>["mode"]>;
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
  /** The wishes of sessions that are accepted, and cannot be programmed now. */
  readonly waiting?: readonly SessionClaim[];
}

/** Ids of what is programmed, by the names of tunnels and the keys of sessions. */
export interface Programmed {
  readonly tunnels: ReadonlyMap<string, number>;
  /** Names of those that share their port with no other datapath's (`DatapathTraits.ports`). */
  readonly kernelTunnels: ReadonlySet<string>;
  readonly sessions: ReadonlyMap<string, number>;
  /** The devices that sockets of tunnels are bound to. */
  readonly devices?: ReadonlyMap<string, BoundDevice>;
  /** The Remote End IDs of sessions in managed tunnels, by key. */
  readonly remoteEndIds?: ReadonlyMap<string, string>;
}
