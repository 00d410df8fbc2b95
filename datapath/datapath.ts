/** A datapath forwards frames: the interface by which the agent changes and lists it. registry/ has all datapaths. */

import type { SocketAddress } from "../linux/socket.ts";
import type { Change } from "../model/change.ts";
import type { DatapathTraits } from "../model/datapath.ts";
import type { Features } from "../model/features.ts";
import type { EndpointCounters, Session, SessionCounters, Tunnel } from "../model/model.ts";
import type { Reply } from "../rpc/errors.ts";
import type { SessionControlState, TunnelControlState } from "./control-state.ts";

export type { Change, DevicePlace } from "../model/change.ts";
export type { Features } from "../model/features.ts";

/** Names of our objects, which a datapath itself does not know. */
export interface Names {
  /** The key of a session, by the session ID on the label of its device. */
  readonly sessions: ReadonlyMap<number, string>;
  /** Returns the name of the tunnel with that ID. `sessions` are the keys of its sessions. */
  tunnelName(tunnelId: number, sessions: readonly string[]): string | undefined;
  /** True if the labels of some devices cannot be read. */
  readonly lacksLabels?: boolean;
}

/** One datapath, as the agent uses it. */
export interface Datapath {
  readonly traits: DatapathTraits;
  /** Lists its tunnels and sessions that are ours. Changes refer to the last listing. */
  list(names: Names): Promise<Listing>;
  /** As `list`, but changes still refer to the listing before. */
  peek(names: Names): Promise<Listing>;
  /** Lists a session and its tunnel, if they are programmed as given. */
  find(session: Session, tunnel: Tunnel): Promise<Listing>;
  /** Returns a reply for each change, in order. A change that fails does not stop the next. */
  apply(changes: readonly Change[]): Promise<readonly Reply<null>[]>;
  /**
   * Returns all tunnels and sessions that the datapath can see, including those that l2tp-cni did not create.
   * @param listing the tunnels and sessions that are ours, of all datapaths with its kind of device
   */
  dump(listing: Listing): readonly DumpEntry[];
  close(): void;
}

/** A tunnel or a session in a datapath. The sessions follow their tunnel. */
export interface DumpEntry {
  readonly datapath: string;
  readonly tunnelId: number;
  /** The session ID in received data messages. Null: the entry is a tunnel; 0: not negotiated yet. */
  readonly sessionId: number | null;
  /** The peer's ID of the tunnel or session; 0: not negotiated yet. */
  readonly peerId: number;
  /** "L2TPv3 UDP", "Ethernet", "PPP". */
  readonly type: string;
  /** A tunnel's local and remote endpoint, "192.0.2.1:5000 192.0.2.2:5000"; empty for a session. */
  readonly endpoints: string;
  /** The name with which the datapath created a session's device; empty: unknown. */
  readonly interface: string;
  /** "L2tpSession shop/lan"; null: l2tp-cni did not create it. */
  readonly owner: string | null;
  /** Other settings, such as "cookies=8/8" and "seq=send,receive". Never a cookie itself. */
  readonly settings: readonly string[];
  readonly counters: Readonly<Record<string, number>>;
}

/** The sender of a session's datagram, if it is not the tunnel's remote. */
export interface UnexpectedSource extends SocketAddress {
  /** Milliseconds since its last datagram. */
  readonly msAgo: number;
}

export interface TunnelState {
  readonly tunnel: Tunnel;
  /** Counters of its local endpoint, which userspace tunnels can share. */
  readonly endpoint: EndpointCounters;
  /** The errno name if the last datagram could not be sent. */
  readonly lastSendError: string | null;
  /** The last unknown session ID that its endpoint received; null: none yet. */
  readonly lastUnknownSession: number | null;
  /** The last other address that sent to one of its sessions. */
  readonly lastStranger: UnexpectedSource | null;
  readonly control?: TunnelControlState;
  /** True if a part of it is missing: the tunnel must be recreated. */
  readonly isLost?: boolean;
}

/** A session, with the features that are in use. */
export interface SessionState extends Features {
  readonly session: Session;
  readonly datapath: string;
  /** False: the device was deleted or closed. */
  readonly deviceOpen: boolean;
  /** Userspace: the interface index of the open device, in the namespace where it was opened. */
  readonly deviceIndex?: number;
  /** False: another session has taken over its session ID. */
  readonly receiving: boolean;
  readonly counters: SessionCounters;
  /** Frames among the `rxErrors` that its kernel device rejected. */
  readonly deviceErrors?: number;
  /** Milliseconds since the last received frame; null: none yet. */
  readonly lastReceivedMsAgo: number | null;
  /** Detected restarts of the peer's sequence numbers. */
  readonly resyncs: number;
  readonly control?: SessionControlState;
  /** The session as its frames are forwarded, if it differs from `session`; null: frames are not forwarded. */
  readonly forwarding?: Session | null;
}

export interface Listing {
  readonly tunnels: readonly TunnelState[];
  readonly sessions: readonly SessionState[];
  /** Changes of control connections so far; undefined: the datapath has no control connections. */
  readonly turns?: number;
}

export const EMPTY_LISTING: Listing = { tunnels: [], sessions: [] };

/** Returns a session's settings for a dump: the lengths of the cookies, never the cookies. */
export function dumpSettings(
  { rxCookie, txCookie }: { readonly rxCookie: string; readonly txCookie: string },
  send: boolean,
  receive: boolean,
  reorderTimeoutMs: number,
): string[] {
  const sequence = [...(send ? ["send"] : []), ...(receive ? ["receive"] : [])];
  return [
    ...(rxCookie || txCookie ? [`cookies=${rxCookie.length / 2}/${txCookie.length / 2}`] : []),
    ...(sequence.length > 0 ? [`seq=${sequence.join(",")}`] : []),
    ...(reorderTimeoutMs > 0 ? [`reorder=${reorderTimeoutMs}ms`] : []),
  ];
}
