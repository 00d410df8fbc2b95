/** The items of a trace, which the agent's socket streams and l2tpctl prints. */

export const TRACE_KINDS = ["control", "sequence", "data"] as const;
/** Control messages, decisions by sequence numbers, headers of frames. */
export type TraceKind = (typeof TRACE_KINDS)[number];

export interface TraceRequest {
  readonly op: "trace";
  /** The name of a tunnel, or "namespace/name" of a session. */
  readonly target: string;
  /** Empty: control messages, or headers of frames if the tunnel has no control connection. */
  readonly kinds: readonly TraceKind[];
}

/** The first item. */
export interface TraceBegun {
  readonly shows: "begun";
  /** "L2tpTunnel branch". */
  readonly object: string;
  readonly kinds: readonly TraceKind[];
}

/** A captured datagram. */
interface Captured {
  /** UNIX time in seconds. */
  readonly seconds: number;
  readonly outgoing: boolean;
  /** "192.0.2.1:1701"; without a port over IP. */
  readonly from: string;
  readonly to: string;
}

/** A control message in words, without secrets, cookies and nonces. */
export interface TracedMessage extends Captured {
  readonly shows: "control";
  readonly type: string;
  readonly connectionId: number;
  readonly ns: number;
  readonly nr: number;
  readonly attributes: readonly string[];
  readonly flaws: readonly string[];
  /** null: the message has no digest, or the secret or nonce to check it is missing. */
  readonly isAuthentic: boolean | null;
}

/** The headers of a frame. */
export interface TracedFrame extends Captured {
  readonly shows: "data";
  readonly sessionId: number;
  /** "namespace/name"; null: the tunnel has no such session. */
  readonly session: string | null;
  /** "unknown": the session is unknown; "cut short": the datagram ends before the cookie does. */
  readonly cookie: "matches" | "previous" | "mismatch" | "none" | "unknown" | "cut short";
  readonly hasSublayer: boolean;
  /** null: the S bit is not set. */
  readonly sequence: number | null;
  /** null: the pseudowire carries no Ethernet frames, or the frame is too short for a header. */
  readonly ethernet: {
    readonly destination: string;
    readonly source: string;
    /** "IPv4", "VLAN 7, ARP", "0x88b5". */
    readonly type: string;
  } | null;
  /** Absent: the pseudowire is not of type IP, or the frame has no IP header. */
  readonly ip?: {
    readonly source: string;
    readonly destination: string;
    /** "ICMP", "TCP", "protocol 47". */
    readonly protocol: string;
  };
  /** Bytes of the frame. */
  readonly bytes: number;
  /** Suspected faults of the frame, in words. */
  readonly flaws: readonly string[];
}

/** The decision on a frame by its sequence number. */
export interface TracedDecision {
  readonly shows: "sequence";
  readonly seconds: number;
  readonly session: string;
  /** null: the frame has no number, or the decision is not about one frame. */
  readonly sequence: number | null;
  /** "delivered", "held", "dropped: it is late". */
  readonly decision: string;
}

/** The growth of the datapath's own counters in the last second, without zeros. */
export interface TracedCounters {
  readonly shows: "counters";
  readonly session: string;
  readonly counted: Readonly<Record<string, number>>;
}

/** The number of lines that were not shown in the last second. */
export interface TracedRest {
  readonly shows: "rest";
  readonly of: TraceKind;
  readonly count: number;
  /** "990 delivered; 3 held"; empty: no details. */
  readonly words: string;
}

/** The last item if the traced object was removed. */
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
