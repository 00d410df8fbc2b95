/**
 * Tunnels and sessions as a data plane is programmed with them: validated, resolved, plain data.
 * Addresses are in canonical text form, so that equality of the values is equality of the objects.
 */
import type { L2SpecificSublayer } from "../l2tp/codec.ts";
import type { Endpoint, SessionControl, TunnelControl } from "../l2tp/control/settings.ts";
import type { Features } from "./features.ts";
import {
  createPseudowireCounters,
  type PseudowireCounters,
  type PseudowireSettings,
} from "./pseudowires/index.ts";

export type { L2SpecificSublayer } from "../l2tp/codec.ts";
export type { Endpoint, SessionControl, TunnelControl } from "../l2tp/control/settings.ts";

export type Encapsulation = "UDP" | "IP";

/** A device that a socket is bound to. Its name may be given to another device, with another index. */
export interface BoundDevice {
  readonly name: string;
  readonly index: number;
}

export interface Tunnel extends Features {
  /** Unique on the node. */
  readonly name: string;
  /** The name of what moves its frames (datapath.ts). */
  readonly datapath: string;
  readonly tunnelId: number;
  readonly peerTunnelId: number;
  readonly encapsulation: Encapsulation;
  readonly local: Endpoint;
  readonly remote: Endpoint;
  /** Its socket is bound to it: the VRF of the local address, or the link of link-local addresses. */
  readonly device?: BoundDevice;
  /** False: UDP datagrams leave without a checksum, and over IPv6 may arrive without one. */
  readonly udpChecksum: boolean;
  /** The DSCP of its packets, from 1 on; "Copy": that of the datagram in each frame. Left out: 0. */
  readonly dscp?: number | "Copy";
  /** Its addresses alone tell its session from those of other tunnels (RFC 8159). */
  readonly keyed?: true;
  /** The prefix of the local address, "2001:db8:1::/64", whose tunnels share a socket; none: the node has the address. */
  readonly localPrefix?: string;
  /** Without one both ends are configured alike. */
  readonly control?: TunnelControl;
  /**
   * In the datapath process: the name of the datapath that gets the tunnel's socket, which is connected to the remote.
   * It moves the frames; the process has the control connection.
   */
  readonly socketOwner?: string;
}

export interface Sequencing {
  readonly send: boolean;
  readonly receive: boolean;
  /** How long an early frame waits for the ones before it; 0: no reordering. */
  readonly reorderTimeoutMs: number;
}

export interface Session extends PseudowireSettings {
  /** "namespace/name", unique on the node. */
  readonly key: string;
  /** The name of its tunnel. */
  readonly tunnel: string;
  /** What we receive on; unique on the node, but for sessions of keyed tunnels. */
  readonly sessionId: number;
  /** What names the device of a session whose ID is not unique: the ID of its keyed tunnel. */
  readonly deviceId?: number;
  /** What we send. */
  readonly peerSessionId: number;
  readonly l2SpecificSublayer: L2SpecificSublayer;
  /** What we require of the peer: 0, 8 or 16 hexadecimal digits. */
  readonly rxCookie: string;
  /** In userspace: another cookie that received frames may have, while the peer changes to `rxCookie` (RFC 8159). */
  readonly previousRxCookie?: string;
  /** What we send: 0, 8 or 16 hexadecimal digits. */
  readonly txCookie: string;
  readonly sequencing: Sequencing;
  /** In userspace: frames from its device with another source address are dropped; none: all pass. */
  readonly sourceMac?: string;
  /**
   * Of a managed tunnel's session: the peer's id, cookies, sublayer and sequencing are what the ends agree on, and not
   * those above; ours is but a name for it here. Until then its device is without a carrier.
   */
  readonly control?: SessionControl;
}

/** Counters of a session, by the kernel's names (L2TP_ATTR_STATS) where it has one. */
export interface SessionCounters extends PseudowireCounters {
  txPackets: number;
  /** Bytes of frames as they are on the wire, behind the session's header, without a frame check sequence. */
  txBytes: number;
  txErrors: number;
  /** Frames of pods that are held to their MAC addresses, with another source address. */
  txSpoofed: number;
  rxPackets: number;
  rxBytes: number;
  /** Frames dropped because they came too late, belong to an old count, or lack the number that we require. */
  rxSeqDiscards: number;
  /** Sequence numbers that were skipped: lost frames, or late ones. */
  rxOosPackets: number;
  rxErrors: number;
  rxCookieDiscards: number;
  /** Frames, among the `rxPackets` and `rxErrors`, with the previous cookie. */
  rxPreviousCookie: number;
  /** Of the `rxErrors`: frames above the device's MTU. */
  rxOversize: number;
  /** Datagrams whose source is not the tunnel's remote. */
  rxSourceMismatch: number;
  /** Frames that came while no pod had attached. */
  rxNoDevice: number;
  /** Frames that look as if the peer's L2-specific sublayer were not ours. */
  rxSublayerSuspect: number;
}

export function createSessionCounters(): SessionCounters {
  return {
    txPackets: 0,
    txBytes: 0,
    txErrors: 0,
    txSpoofed: 0,
    rxPackets: 0,
    rxBytes: 0,
    rxSeqDiscards: 0,
    rxOosPackets: 0,
    rxErrors: 0,
    rxCookieDiscards: 0,
    rxPreviousCookie: 0,
    rxOversize: 0,
    rxSourceMismatch: 0,
    rxNoDevice: 0,
    rxSublayerSuspect: 0,
    ...createPseudowireCounters(),
  };
}

/** Counters of a local endpoint: what could not be given to a session. */
export interface EndpointCounters {
  rxPackets: number;
  rxShort: number;
  rxWrongVersion: number;
  /** Control messages from addresses that no tunnel has a control connection with. */
  rxControl: number;
  /**
   * Control messages that were dropped before they were decoded, most of them over their peer's
   * budget.
   */
  rxControlDropped: number;
  rxUnknownSession: number;
  /** Larger than any frame can be. */
  rxTruncated: number;
  rxErrors: number;
}

export function createEndpointCounters(): EndpointCounters {
  return {
    rxPackets: 0,
    rxShort: 0,
    rxWrongVersion: 0,
    rxControl: 0,
    rxControlDropped: 0,
    rxUnknownSession: 0,
    rxTruncated: 0,
    rxErrors: 0,
  };
}
