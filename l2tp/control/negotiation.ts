/** Negotiation of a session (RFC 3931, 5.4.4): pure, from the messages of both ends. */
import type { L2SpecificSublayer } from "../codec.ts";
import type { Attributes } from "./attributes.ts";
import { type CircuitStatus, decodeCircuitStatus } from "./circuit-status.ts";
import { DisconnectResult, GeneralError } from "./result-code.ts";
import type { ResultCode } from "./value-formats.ts";

/** Our terms of a session. */
export interface SessionTerms {
  /** Identifies the circuit at the peer. */
  readonly remoteEndId: string;
  /** A number of the registry of RFC 4446. */
  readonly pseudowireType: number;
  /** The sublayer that we require in received frames. The peer can require more. */
  readonly l2SpecificSublayer: L2SpecificSublayer;
  /** True if received frames must have sequence numbers. */
  readonly receiveSequencing: boolean;
  /** Maximum octets after a frame's Ethernet header; null: not sent. */
  readonly interfaceMtu: number | null;
}

/** The peer's terms so far; later messages add to them. */
export interface PeerTerms {
  readonly sessionId: number;
  /** Cookie of frames to the peer: 0, 8 or 16 hexadecimal digits. */
  readonly cookie: string;
  readonly needsSublayer: boolean;
  readonly needsSequencing: boolean;
  readonly circuit: CircuitStatus;
  readonly interfaceMtu: number | null;
}

const UNKNOWN_PEER: PeerTerms = {
  sessionId: 0,
  cookie: "",
  needsSublayer: false,
  needsSequencing: false,
  // The default until the peer sends a Circuit Status.
  circuit: { active: true, standby: false },
  interfaceMtu: null,
};

/** L2-Specific Sublayer Type. */
const SUBLAYER = { None: 0, Default: 1 } as const;
/** Data Sequencing Level: we number all frames, or none. */
const SEQUENCING = { None: 0, All: 2 } as const;

/** Returns the peer's terms after another message. */
export function peerTerms(said: Attributes, before: PeerTerms = UNKNOWN_PEER): PeerTerms {
  return {
    sessionId: said.localSessionId || before.sessionId,
    cookie: said.assignedCookie ?? before.cookie,
    needsSublayer:
      said.l2SpecificSublayer === undefined
        ? before.needsSublayer
        : said.l2SpecificSublayer !== SUBLAYER.None,
    needsSequencing:
      said.dataSequencing === undefined
        ? before.needsSequencing
        : said.dataSequencing !== SEQUENCING.None,
    circuit:
      said.circuitStatus === undefined ? before.circuit : decodeCircuitStatus(said.circuitStatus),
    interfaceMtu: said.interfaceMtu ?? before.interfaceMtu,
  };
}

/** The negotiated format of data messages. */
export interface Agreement {
  readonly l2SpecificSublayer: L2SpecificSublayer;
  readonly sequencing: { readonly send: boolean; readonly receive: boolean };
}

/**
 * Returns the negotiated format. If one end requires the sublayer, both directions have it, because our datapaths do
 * not support different directions.
 */
export function agree(ours: SessionTerms, theirs: PeerTerms): Agreement {
  const sublayer =
    ours.l2SpecificSublayer === "Default" || ours.receiveSequencing || theirs.needsSublayer;
  return {
    l2SpecificSublayer: sublayer ? "Default" : "None",
    sequencing: { send: theirs.needsSequencing, receive: ours.receiveSequencing },
  };
}

/** Returns the AVPs that describe the format. */
export function describeAgreement({ l2SpecificSublayer, sequencing }: Agreement): Attributes {
  return {
    l2SpecificSublayer: SUBLAYER[l2SpecificSublayer],
    ...(sequencing.receive ? { dataSequencing: SEQUENCING.All } : {}),
  };
}

/** Returns the AVPs of our request. */
export function describeTerms(terms: SessionTerms): Attributes {
  return describeAgreement(agree(terms, UNKNOWN_PEER));
}

/** Returns why a request or reply is not acceptable, also for the peer; null: it is acceptable. */
export function objection(ours: SessionTerms, said: Attributes): ResultCode | null {
  if (said.pseudowireType !== undefined && said.pseudowireType !== ours.pseudowireType) {
    return refuse(
      DisconnectResult.UnsupportedPseudowireType,
      `type ${said.pseudowireType}; configured: ${ours.pseudowireType}`,
    );
  }
  if ((said.l2SpecificSublayer ?? SUBLAYER.None) > SUBLAYER.Default) {
    const words = `unsupported L2-Specific Sublayer ${said.l2SpecificSublayer}`;
    return {
      result: DisconnectResult.GeneralError,
      error: GeneralError.OutOfRange,
      message: words,
    };
  }
  const sequencing = said.dataSequencing ?? SEQUENCING.None;
  if (sequencing !== SEQUENCING.None && !said.l2SpecificSublayer) {
    return refuse(DisconnectResult.SequencingWithoutSublayer, "sequencing without a sublayer");
  }
  return null;
}

function refuse(result: number, message: string): ResultCode {
  return { result, error: GeneralError.None, message };
}
