/**
 * Tunnels and sessions as they are programmed: validated, resolved, plain data. Addresses are in canonical text form,
 * so that objects are equal if their values are equal.
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

/** A device that a socket is bound to. Another device with another index can get the same name later. */
export interface BoundDevice {
  readonly name: string;
  readonly index: number;
}

export interface Tunnel extends Features {
  /** Unique on the node. */
  readonly name: string;
  /** The name of the datapath that forwards its frames (datapath.ts). */
  readonly datapath: string;
  readonly tunnelId: number;
  readonly peerTunnelId: number;
  readonly encapsulation: Encapsulation;
  readonly local: Endpoint;
  readonly remote: Endpoint;
  /** The device that its socket is bound to: the VRF of the local address, or the link of link-local addresses. */
  readonly device?: BoundDevice;
  /** False: UDP datagrams leave without a checksum, and over IPv6 may arrive without one. */
  readonly udpChecksum: boolean;
  /** The DSCP of its packets, 1 to 63; "Copy": the DSCP of the datagram in each frame. Absent: 0. */
  readonly dscp?: number | "Copy";
  /**
   * Present if congestion marks are passed between the outer and the inner IP header (RFC 6040). In a managed tunnel
   * also the peer must agree.
   */
  readonly ecn?: true;
  /** Present if the pair of addresses identifies its session (RFC 8159). */
  readonly keyed?: true;
  /** The prefix of the local address; tunnels of a prefix share a socket. Absent: the node has the address. */
  readonly localPrefix?: string;
  /** Absent in a static tunnel. */
  readonly control?: TunnelControl;
  /**
   * In the datapath process: the name of the datapath that gets the tunnel's socket, which is connected to the remote.
   * That datapath forwards the frames; the process has the control connection.
   */
  readonly socketOwner?: string;
}

export interface Sequencing {
  readonly send: boolean;
  readonly receive: boolean;
  /** Maximum time to hold an out-of-order frame; 0: no reordering. */
  readonly reorderTimeoutMs: number;
}

export interface Session extends PseudowireSettings {
  /** "namespace/name", unique on the node. */
  readonly key: string;
  /** The name of its tunnel. */
  readonly tunnel: string;
  /** The session ID in received data messages; unique on the node, except in keyed tunnels. */
  readonly sessionId: number;
  /** The ID in the name of the device, if the session ID is not unique: the ID of the keyed tunnel. */
  readonly deviceId?: number;
  /** The session ID in sent data messages. */
  readonly peerSessionId: number;
  readonly l2SpecificSublayer: L2SpecificSublayer;
  /** The cookie required in received data messages: 0, 8 or 16 hexadecimal digits. */
  readonly rxCookie: string;
  /** Another accepted cookie, while the peer changes to `rxCookie` (RFC 8159, section 3). Userspace only. */
  readonly previousRxCookie?: string;
  /** The cookie in sent data messages: 0, 8 or 16 hexadecimal digits. */
  readonly txCookie: string;
  readonly sequencing: Sequencing;
  /** In userspace: frames from its device with another source MAC address are dropped; absent: all pass. */
  readonly sourceMac?: string;
  /**
   * The key of the session that frames are forwarded to without a device. It has an effect only if that session names
   * this session.
   */
  readonly switchTo?: string;
  /**
   * Present in a managed tunnel: session IDs, cookies, sublayer and sequencing are negotiated, and replace those above,
   * where sessionId is only a local name. Until then the device has no carrier.
   */
  readonly control?: SessionControl;
}

/** Counters of a session, with the names of the kernel (L2TP_ATTR_STATS) if it has them. */
export interface SessionCounters extends PseudowireCounters {
  txPackets: number;
  /** Bytes of frames on the wire after the session's header, without frame check sequence. */
  txBytes: number;
  txErrors: number;
  /** Frames dropped by macSpoofing: Refuse, with another source address than the pod's. */
  txSpoofed: number;
  rxPackets: number;
  rxBytes: number;
  /** Frames dropped because they are late, have an old sequence number, or lack the required one. */
  rxSeqDiscards: number;
  /** Skipped sequence numbers, of lost or late frames. */
  rxOosPackets: number;
  rxErrors: number;
  rxCookieDiscards: number;
  /** Frames with the previous cookie; also counted in rxPackets or rxErrors. */
  rxPreviousCookie: number;
  /** Frames in congested packets whose sender does not use ECN (RFC 6040); also counted in rxErrors. */
  rxCongestionDiscards: number;
  /** Frames above the device's MTU; also counted in rxErrors. */
  rxOversize: number;
  /** Datagrams whose source is not the tunnel's remote. */
  rxSourceMismatch: number;
  /** Frames received while no pod was attached. */
  rxNoDevice: number;
  /** Frames that look as if the peer's L2-Specific Sublayer differs from ours. */
  rxSublayerSuspect: number;
}

/** Returns counters of a new session: all 0. */
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
    rxCongestionDiscards: 0,
    rxOversize: 0,
    rxSourceMismatch: 0,
    rxNoDevice: 0,
    rxSublayerSuspect: 0,
    ...createPseudowireCounters(),
  };
}

/** Counters of a local endpoint, for messages that match no session. */
export interface EndpointCounters {
  rxPackets: number;
  rxShort: number;
  rxWrongVersion: number;
  /** Control messages from addresses without a control connection. */
  rxControl: number;
  /**
   * Control messages that were dropped before decoding, mostly because their peer exceeded its rate limit.
   */
  rxControlDropped: number;
  rxUnknownSession: number;
  /** Messages larger than any frame. */
  rxTruncated: number;
  rxErrors: number;
}

/** Returns counters of a new endpoint: all 0. */
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
