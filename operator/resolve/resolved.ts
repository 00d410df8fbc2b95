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
  /** Present if the session is for a node interface, and the agent has observed the interface. */
  readonly nodeInterface?: NodeInterface;
  /** Present in mode Switch. */
  readonly switched?: Switched;
}

/** The switch of a session in mode Switch. */
export interface Switched {
  /** The key of the other session. */
  readonly to: string;
  /** The reason why frames are dropped; null: they are forwarded to the other session. */
  readonly whyNot: { readonly reason: string; readonly message: string } | null;
  /** True if tc redirects frames between the devices of the two sessions. */
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
