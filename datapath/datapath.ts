/** A datapath moves the frames: how the agent changes it, and what it tells. registry/ has all of them. */

import type { SocketAddress } from "../linux/socket.ts";
import type { Change } from "../model/change.ts";
import type { DatapathTraits } from "../model/datapath.ts";
import type { Features } from "../model/features.ts";
import type { EndpointCounters, Session, SessionCounters, Tunnel } from "../model/model.ts";
import type { Reply } from "../rpc/errors.ts";
import type { SessionControlState, TunnelControlState } from "./control-state.ts";

export type { Change, DevicePlace } from "../model/change.ts";
export type { Features } from "../model/features.ts";

/** Facts about our objects that a datapath itself cannot tell. */
export interface Names {
  /** By the session ID on its label: the key of the session. */
  readonly sessions: ReadonlyMap<number, string>;
  /** The name of the tunnel with that id; `sessions`: the keys of those in it. */
  tunnelName(tunnelId: number, sessions: readonly string[]): string | undefined;
  /** Labels of some devices cannot be seen. */
  readonly lacksLabels?: boolean;
}

/** One datapath, as the agent has it. */
export interface Datapath {
  readonly traits: DatapathTraits;
  /** All of its tunnels and sessions that are ours. Changes refer to what was listed last. */
  list(names: Names): Promise<Listing>;
  /** As `list`, and changes refer to what they did before. */
  peek(names: Names): Promise<Listing>;
  /** A session and its tunnel, where they are as they are put. */
  find(session: Session, tunnel: Tunnel): Promise<Listing>;
  /** A reply for each change, in order; one that fails does not stop the next. */
  apply(changes: readonly Change[]): Promise<readonly Reply<null>[]>;
  /**
   * All tunnels and sessions that it can see, ours or not.
   * @param listing what is ours, of all datapaths with its kind of device
   */
  dump(listing: Listing): readonly DumpEntry[];
  close(): void;
}

/** A tunnel, or a session behind its tunnel, as a data plane has it. */
export interface DumpEntry {
  readonly datapath: string;
  readonly tunnelId: number;
  /** As its frames have it. Null: it is the tunnel itself; 0: the ends have not agreed on one yet. */
  readonly sessionId: number | null;
  /** The peer's ID of the tunnel or session; 0: the ends have not agreed on one yet. */
  readonly peerId: number;
  /** "L2TPv3 UDP", "Ethernet", "PPP". */
  readonly type: string;
  /** A tunnel's ends, "192.0.2.1:5000 192.0.2.2:5000"; empty for a session. */
  readonly endpoints: string;
  /** A session's device, by the name that the datapath gave it; empty: it knows none. */
  readonly interface: string;
  /** "L2tpSession shop/lan"; null: somebody else made it. */
  readonly owner: string | null;
  /** Other settings, such as "cookies=8/8" and "seq=send,receive". Never a cookie itself. */
  readonly settings: readonly string[];
  readonly counters: Readonly<Record<string, number>>;
}

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
  /** A part of it is gone: it must be made again. */
  readonly isLost?: boolean;
}

/** With the features that are in use. */
export interface SessionState extends Features {
  readonly session: Session;
  readonly datapath: string;
  /** False: the device is gone, or was taken away. */
  readonly deviceOpen: boolean;
  /** In userspace: the interface index of the open device, in the namespace where it was opened. */
  readonly deviceIndex?: number;
  /** False: another session has taken its session id over. */
  readonly receiving: boolean;
  readonly counters: SessionCounters;
  /** Frames, among the `rxErrors`, that its device in the kernel refused. */
  readonly deviceErrors?: number;
  /** Milliseconds since the last frame came in; null: none yet. */
  readonly lastReceivedMsAgo: number | null;
  /** Times that the peer was found to have restarted its sequence numbers. */
  readonly resyncs: number;
  readonly control?: SessionControlState;
  /** How its frames are forwarded, where that is not as `session` says; null: not at all. */
  readonly forwarding?: Session | null;
}

export interface Listing {
  readonly tunnels: readonly TunnelState[];
  readonly sessions: readonly SessionState[];
  /** How often control connections have changed so far; undefined: there can be none. */
  readonly turns?: number;
}

export const EMPTY_LISTING: Listing = { tunnels: [], sessions: [] };

/** The settings of a session in a dump: the lengths of cookies, not the cookies. */
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
