/** The items of a trace, which the agent's socket streams and l2tpctl prints. */

export const TRACE_KINDS = ["control", "sequence", "data"] as const;
/** Control messages; what is decided by sequence numbers; headers of frames. */
export type TraceKind = (typeof TRACE_KINDS)[number];

export interface TraceRequest {
  readonly op: "trace";
  /** The name of a tunnel, or "namespace/name" of a session. */
  readonly target: string;
  /** Empty: control messages; of a tunnel that has none, headers of frames. */
  readonly kinds: readonly TraceKind[];
}

/** The first item. */
export interface TraceBegun {
  readonly shows: "begun";
  /** "L2tpTunnel branch". */
  readonly object: string;
  readonly kinds: readonly TraceKind[];
}

/** A datagram that was captured. */
interface Captured {
  /** UNIX time in seconds. */
  readonly seconds: number;
  readonly outgoing: boolean;
  /** "192.0.2.1:1701"; over IP without a port. */
  readonly from: string;
  readonly to: string;
}

/** A control message in words; secrets, cookies and nonces are left out. */
export interface TracedMessage extends Captured {
  readonly shows: "control";
  readonly type: string;
  readonly connectionId: number;
  readonly ns: number;
  readonly nr: number;
  readonly attributes: readonly string[];
  readonly flaws: readonly string[];
  /** null: without a digest, or without what it would be checked by. */
  readonly isAuthentic: boolean | null;
}

/** The headers of a frame. */
export interface TracedFrame extends Captured {
  readonly shows: "data";
  readonly sessionId: number;
  /** "namespace/name"; null: the tunnel has no such session. */
  readonly session: string | null;
  /** "unknown": nobody knows what the session has; "cut short": the datagram ends before. */
  readonly cookie: "matches" | "previous" | "mismatch" | "none" | "unknown" | "cut short";
  readonly hasSublayer: boolean;
  /** null: the S bit is not set. */
  readonly sequence: number | null;
  /** null: the pseudowire carries no Ethernet, or the frame is too short for it. */
  readonly ethernet: {
    readonly destination: string;
    readonly source: string;
    /** "IPv4", "VLAN 7, ARP", "0x88b5". */
    readonly type: string;
  } | null;
  /** Absent: the pseudowire carries no bare IP, or no header of IP is there. */
  readonly ip?: {
    readonly source: string;
    readonly destination: string;
    /** "ICMP", "TCP", "protocol 47". */
    readonly protocol: string;
  };
  /** Bytes of the frame. */
  readonly bytes: number;
  /** Faults that it seems to have, in words. */
  readonly flaws: readonly string[];
}

/** The fate of a frame by its sequence number. */
export interface TracedDecision {
  readonly shows: "sequence";
  readonly seconds: number;
  readonly session: string;
  /** null: the frame has no number, or it is not about one frame. */
  readonly sequence: number | null;
  /** "delivered", "held", "dropped: it is late". */
  readonly decision: string;
}

/** The datapath's own counts of the last second; 0 is left out. */
export interface TracedCounters {
  readonly shows: "counters";
  readonly session: string;
  readonly counted: Readonly<Record<string, number>>;
}

/** Counts of what was not shown in the last second. */
export interface TracedRest {
  readonly shows: "rest";
  readonly of: TraceKind;
  readonly count: number;
  /** "990 delivered, 3 held"; empty: nothing more is known. */
  readonly words: string;
}

/** The last item of a trace whose object is gone. */
export interface TraceEnded {
  readonly shows: "ended";
  readonly why: string;
}

export type TraceItem =
  | TraceBegun
  | TracedMessage
  | TracedFrame
  | TracedDecision
  | TracedCounters
  | TracedRest
  | TraceEnded;
