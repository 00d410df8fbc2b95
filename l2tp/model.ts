/**
 * Tunnels and sessions as a data plane is programmed with them: validated, resolved, plain data.
 * Addresses are in canonical text form, so that equality of the values is equality of the objects.
 */

export type Encapsulation = "UDP" | "IP";
/** Who moves the frames of a tunnel. */
export type Datapath = "Kernel" | "Userspace";
export type L2SpecificSublayer = "Default" | "None";

export interface Endpoint {
  readonly address: string;
  /** The UDP port; 0 over IP. */
  readonly port: number;
}

/** How a tunnel's control connection is held (RFC 3931; control/). */
export interface TunnelControl {
  /** "Quiescent": both ends know all of each other, and only ask whether the other lives. */
  readonly mode: "Managed" | "Quiescent";
  /** Whether we send the SCCRQ. */
  readonly initiates: boolean;
  /** Who takes over when the tunnel's remote is gone, the first of them first; of a managed tunnel. */
  readonly backups: readonly Endpoint[];
  readonly hostName: string;
  readonly routerId: number;
  /** In hexadecimal digits; none: without authentication. A second is for a change of the secret. */
  readonly secrets: readonly string[];
  readonly digest: "md5" | "sha1";
  readonly hidesValues: boolean;
  readonly helloMs: number;
  /** null: when retransmission has ended. */
  readonly deadAfterMs: number | null;
  readonly retransmitMs: number;
  readonly retransmitCapMs: number;
  readonly maxRetransmits: number;
}

/** How a session of a managed tunnel is signalled. */
export interface SessionControl {
  readonly remoteEndId: string;
  /** Which call we place; null: we wait for the peer's. */
  readonly places: "ICRQ" | "OCRQ" | null;
  /** 4: Ethernet VLAN, 5: Ethernet (RFC 4719). */
  readonly pseudowireType: number;
  /** Hexadecimal digits; null: by chance. */
  readonly rxCookie: string | null;
  /** Of the pod's interface. */
  readonly circuit: { readonly active: boolean; readonly standby: boolean };
}

export interface Tunnel {
  /** Unique on the node. */
  readonly name: string;
  readonly datapath: Datapath;
  readonly tunnelId: number;
  readonly peerTunnelId: number;
  readonly encapsulation: Encapsulation;
  readonly local: Endpoint;
  readonly remote: Endpoint;
  /** False: UDP datagrams leave without a checksum, and over IPv6 may arrive without one. */
  readonly udpChecksum: boolean;
  /** In userspace: frames that need nothing else pass by BPF programs in the kernel (datapath/bpf/). */
  readonly fastPath: boolean;
  /** Without one both ends are configured alike. */
  readonly control?: TunnelControl;
  /** Of a control half (halves.ts): the kernel is given the socket, and moves the frames. */
  readonly handsOver?: true;
}

export interface Sequencing {
  readonly send: boolean;
  readonly receive: boolean;
  /** How long an early frame waits for the ones before it; 0: no reordering. */
  readonly reorderTimeoutMs: number;
}

export interface Session {
  /** "namespace/name", unique on the node. */
  readonly key: string;
  /** The name of its tunnel. */
  readonly tunnel: string;
  /** What we receive on; unique on the node. */
  readonly sessionId: number;
  /** What we send. */
  readonly peerSessionId: number;
  readonly l2SpecificSublayer: L2SpecificSublayer;
  /** What we require of the peer: 0, 8 or 16 hexadecimal digits. */
  readonly rxCookie: string;
  /** What we send: 0, 8 or 16 hexadecimal digits. */
  readonly txCookie: string;
  readonly sequencing: Sequencing;
  /** Of the pseudowire's device: the largest frame is this, an Ethernet header and a VLAN tag. */
  readonly mtu: number;
  /** In userspace: frames from its device with another source address are dropped; none: all pass. */
  readonly sourceMac?: string;
  /**
   * Of a managed tunnel's session: the peer's id, cookies, sublayer and sequencing are what the ends agree on, and not
   * those above; ours is but a name for it here. Until then its device is without a carrier.
   */
  readonly control?: SessionControl;
}

/** Counters of a session, by the kernel's names (L2TP_ATTR_STATS) where it has one. */
export interface SessionCounters {
  txPackets: number;
  /** Bytes of Ethernet frames, without the frame check sequence. */
  txBytes: number;
  txErrors: number;
  /** Frames of pods that are held to their MAC addresses, with another source address. */
  txSpoofed: number;
  rxPackets: number;
  rxBytes: number;
  /** Frames dropped because they came too late, or without the sequence number that we require. */
  rxSeqDiscards: number;
  /** Sequence numbers that were skipped: lost frames, or late ones. */
  rxOosPackets: number;
  rxErrors: number;
  rxCookieDiscards: number;
  /** Messages too short for the session's header or for an Ethernet header. */
  rxInvalid: number;
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
    rxInvalid: 0,
    rxOversize: 0,
    rxSourceMismatch: 0,
    rxNoDevice: 0,
    rxSublayerSuspect: 0,
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
