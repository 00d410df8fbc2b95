/** What two ends of a session agree on (RFC 3931, 5.4.4): pure, from what each has said. */
import type { L2SpecificSublayer } from "../codec.ts";
import type { Attributes } from "./attributes.ts";
import { type CircuitStatus, decodeCircuitStatus } from "./circuit-status.ts";
import { DisconnectResult, GeneralError } from "./result-code.ts";
import type { ResultCode } from "./value-formats.ts";

/** What we want of a session. */
export interface SessionTerms {
  /** What the peer knows the circuit by. */
  readonly remoteEndId: string;
  /** A number of the registry of RFC 4446. */
  readonly pseudowireType: number;
  /** What we need on frames that come; the peer may need more. */
  readonly l2SpecificSublayer: L2SpecificSublayer;
  /** Whether frames that come must be numbered. */
  readonly receiveSequencing: boolean;
  /** Octets that a frame may have behind its Ethernet header; null: not said. */
  readonly interfaceMtu: number | null;
}

/** What the peer has said so far; later messages add to it. */
export interface PeerTerms {
  readonly sessionId: number;
  /** What frames to the peer carry; 0, 8 or 16 hexadecimal digits. */
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
  // As long as the peer says nothing else.
  circuit: { active: true, standby: false },
  interfaceMtu: null,
};

/** L2-Specific Sublayer Type. */
const SUBLAYER = { None: 0, Default: 1 } as const;
/** Data Sequencing Level: we number all frames or none. */
const SEQUENCING = { None: 0, All: 2 } as const;

/** What the peer has said with a message more. */
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

/** What a session carries, both ways. */
export interface Agreement {
  readonly l2SpecificSublayer: L2SpecificSublayer;
  readonly sequencing: { readonly send: boolean; readonly receive: boolean };
}

/** Who needs a sublayer gets it, and sends it too: our data planes have one or none for both ways. */
export function agree(ours: SessionTerms, theirs: PeerTerms): Agreement {
  const sublayer =
    ours.l2SpecificSublayer === "Default" || ours.receiveSequencing || theirs.needsSublayer;
  return {
    l2SpecificSublayer: sublayer ? "Default" : "None",
    sequencing: { send: theirs.needsSequencing, receive: ours.receiveSequencing },
  };
}

/** What we say of it. */
export function describeAgreement({ l2SpecificSublayer, sequencing }: Agreement): Attributes {
  return {
    l2SpecificSublayer: SUBLAYER[l2SpecificSublayer],
    ...(sequencing.receive ? { dataSequencing: SEQUENCING.All } : {}),
  };
}

/** What we ask for, before the peer has said anything. */
export function describeTerms(terms: SessionTerms): Attributes {
  return describeAgreement(agree(terms, UNKNOWN_PEER));
}

/** Why a request or reply cannot be met; null: it can. */
export function objection(ours: SessionTerms, said: Attributes): ResultCode | null {
  if (said.pseudowireType !== undefined && said.pseudowireType !== ours.pseudowireType) {
    return refuse(
      DisconnectResult.UnsupportedPseudowireType,
      `pseudowire type ${said.pseudowireType}, not ${ours.pseudowireType}`,
    );
  }
  if ((said.l2SpecificSublayer ?? SUBLAYER.None) > SUBLAYER.Default) {
    const words = `L2-specific sublayer ${said.l2SpecificSublayer}`;
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
