/** The AVPs of RFC 3931 (5.4) and its successors: type, format, and whether they can be hidden. */
import type { MessageType } from "./message-type.ts";
import type { Octets } from "./octets.ts";
import {
  CIRCUIT_ERRORS,
  type CircuitErrors,
  type Format,
  hex,
  ID,
  NAME,
  NAMES,
  OCTETS,
  PRESENT,
  RESULT_CODE,
  type ResultCode,
  TEXT,
  UINT16,
  UINT16_LIST,
  UINT32,
  UINT64,
} from "./value-formats.ts";

/** The attributes of a message, without its type and digest. */
export interface Attributes {
  readonly resultCode?: ResultCode;
  /** 16 hexadecimal digits: of a control connection (SCCRQ), or of a session (ICRQ, OCRQ). */
  readonly tieBreaker?: string;
  readonly hostName?: string;
  readonly vendorName?: string;
  readonly receiveWindowSize?: number;
  readonly serialNumber?: number;
  readonly physicalChannelId?: number;
  readonly circuitErrors?: CircuitErrors;
  readonly routerId?: number;
  readonly assignedConnectionId?: number;
  readonly pseudowireCapabilities?: readonly number[];
  /** 0 in a refusal before the sender has allocated an ID. */
  readonly localSessionId?: number;
  /** 0 while the peer's is not known. */
  readonly remoteSessionId?: number;
  /** 0, 8 or 16 hexadecimal digits. */
  readonly assignedCookie?: string;
  readonly remoteEndId?: string;
  readonly pseudowireType?: number;
  readonly l2SpecificSublayer?: number;
  readonly dataSequencing?: number;
  /** Bits of circuit-status.ts. */
  readonly circuitStatus?: number;
  readonly preferredLanguage?: string;
  readonly nonce?: Octets;
  /** Bits per second. */
  readonly txConnectSpeed?: bigint;
  readonly rxConnectSpeed?: bigint;
  /** Octets (RFC 4667). */
  readonly interfaceMtu?: number;
  /** The sender propagates congestion marks (RFC 9601, 5.1). */
  readonly ecnCapability?: true;
  /** Names of the switches that a call has passed (draft-ietf-l2tpext-tunnel-switching). */
  readonly aggregators?: readonly string[];
}

export interface Attribute<T> {
  /** The attribute type. */
  readonly type: number;
  /** The name in the RFC. */
  readonly name: string;
  readonly format: Format<T>;
  /** The RFC's recommendation for the M bit. */
  readonly mandatory: boolean;
  readonly mayBeHidden: boolean;
  /** The value is a list, with one AVP for each item. */
  readonly isStacked?: boolean;
}

type Table = { readonly [K in keyof Attributes]-?: Attribute<NonNullable<Attributes[K]>> };

function attribute<T>(
  type: number,
  name: string,
  format: Format<T>,
  { mandatory = true, mayBeHidden = true, isStacked = false } = {},
): Attribute<T> {
  return { type, name, format, mandatory, mayBeHidden, isStacked };
}

const CLEAR = { mayBeHidden: false } as const;
const OPTIONAL = { mandatory: false } as const;

/** The AVPs in the order in which we write them. */
export const ATTRIBUTES: Table = {
  resultCode: attribute(1, "Result Code", RESULT_CODE, CLEAR),
  tieBreaker: attribute(5, "Tie Breaker", hex(8), CLEAR),
  nonce: attribute(73, "Control Message Authentication Nonce", OCTETS, CLEAR),
  hostName: attribute(7, "Host Name", NAME, CLEAR),
  routerId: attribute(60, "Router ID", UINT32, CLEAR),
  vendorName: attribute(8, "Vendor Name", TEXT, OPTIONAL),
  assignedConnectionId: attribute(61, "Assigned Control Connection ID", ID),
  receiveWindowSize: attribute(10, "Receive Window Size", UINT16, CLEAR),
  pseudowireCapabilities: attribute(62, "Pseudowire Capabilities List", UINT16_LIST),
  preferredLanguage: attribute(72, "Preferred Language", TEXT, OPTIONAL),
  localSessionId: attribute(63, "Local Session ID", UINT32),
  remoteSessionId: attribute(64, "Remote Session ID", UINT32),
  serialNumber: attribute(15, "Serial Number", UINT32, OPTIONAL),
  pseudowireType: attribute(68, "Pseudowire Type", UINT16),
  remoteEndId: attribute(66, "Remote End ID", TEXT),
  circuitStatus: attribute(71, "Circuit Status", UINT16),
  assignedCookie: attribute(65, "Assigned Cookie", hex(0, 4, 8)),
  l2SpecificSublayer: attribute(69, "L2-Specific Sublayer", UINT16),
  dataSequencing: attribute(70, "Data Sequencing", UINT16),
  txConnectSpeed: attribute(74, "Tx Connect Speed", UINT64, OPTIONAL),
  rxConnectSpeed: attribute(75, "Rx Connect Speed", UINT64, OPTIONAL),
  physicalChannelId: attribute(25, "Physical Channel ID", UINT32, OPTIONAL),
  interfaceMtu: attribute(91, "Interface Maximum Transmission Unit", UINT16, OPTIONAL),
  ecnCapability: attribute(103, "ECN Capability", PRESENT, OPTIONAL),
  aggregators: attribute(93, "Tunnel Switching Aggregator ID", NAMES, {
    ...CLEAR,
    ...OPTIONAL,
    isStacked: true,
  }),
  circuitErrors: attribute(34, "Circuit Errors", CIRCUIT_ERRORS, OPTIONAL),
};

export type AttributeKey = keyof Attributes;
export const ATTRIBUTE_KEYS = Object.keys(ATTRIBUTES) as readonly AttributeKey[];

const BY_TYPE = new Map(ATTRIBUTE_KEYS.map((key) => [ATTRIBUTES[key].type, key]));

/** Returns the key of an attribute type; undefined: the type is unknown. */
export function attributeOf(type: number): AttributeKey | undefined {
  return BY_TYPE.get(type);
}

const CONNECTION = [
  "hostName",
  "routerId",
  "assignedConnectionId",
  "pseudowireCapabilities",
] as const;
const SESSION = ["localSessionId", "remoteSessionId"] as const;
const REQUEST = [
  ...SESSION,
  "serialNumber",
  "pseudowireType",
  "remoteEndId",
  "circuitStatus",
] as const;
const REPLY = [...SESSION, "circuitStatus"] as const;

/** Messages in which the M bit of an attribute is clear, so that peers that do not expect it ignore it. */
const OPTIONAL_IN: Partial<Record<AttributeKey, readonly MessageType[]>> = {
  pseudowireType: ["ICRP", "OCRP"],
};

/** True if we clear the M bit of the attribute in messages of this type. */
export function isOptionalIn(type: MessageType, key: AttributeKey): boolean {
  return OPTIONAL_IN[key]?.includes(type) === true;
}

/** Attributes that are not essential: they name the peer for people, or have only one possible value. */
const DISPENSABLE: Partial<Record<AttributeKey, readonly MessageType[]>> = {
  hostName: ["SCCRQ", "SCCRP"],
  routerId: ["SCCRQ", "SCCRP"],
  pseudowireCapabilities: ["SCCRQ", "SCCRP"],
  serialNumber: ["ICRQ", "OCRQ"],
  remoteSessionId: ["ICRQ", "OCRQ"],
  circuitStatus: ["ICRQ", "ICRP", "OCRQ", "OCRP"],
  circuitErrors: ["WEN"],
};

/** True if the message can be handled without the attribute, although the RFC requires it. */
export function isDispensable(type: MessageType, key: AttributeKey): boolean {
  return DISPENSABLE[key]?.includes(type) === true;
}

/** Required attributes of each message (section 6). */
export const REQUIRED: Readonly<Record<MessageType, readonly AttributeKey[]>> = {
  SCCRQ: CONNECTION,
  SCCRP: CONNECTION,
  SCCCN: [],
  StopCCN: ["resultCode"],
  HELLO: [],
  OCRQ: REQUEST,
  OCRP: REPLY,
  OCCN: SESSION,
  ICRQ: REQUEST,
  ICRP: REPLY,
  ICCN: SESSION,
  CDN: ["resultCode", ...SESSION],
  WEN: [...SESSION, "circuitErrors"],
  SLI: SESSION,
  ACK: [],
};
