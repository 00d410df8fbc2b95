/** Describes control messages as text, for captures and logs. */
import { PSEUDOWIRE_WORDS } from "../../net/headers.ts";
import { formatAddress } from "../../net/ip.ts";
import { ATTRIBUTES, type AttributeKey, type Attributes } from "./attributes.ts";
import { describeCircuitStatus } from "./circuit-status.ts";
import { type Flaw, flawInWords } from "./flaw.ts";
import { CISCO, isSecret } from "./foreign-attributes.ts";
import type { Decoded, ForeignAttribute } from "./message.ts";
import { toHex } from "./octets.ts";
import { printable } from "./printable.ts";
import { describeRemoteEndId } from "./remote-end-id.ts";
import { describeResult } from "./result-code.ts";
import { UINT32 } from "./value-formats.ts";

const SUBLAYERS: Readonly<Record<number, string>> = { 0: "none", 1: "default" };
const SEQUENCING: Readonly<Record<number, string>> = { 0: "none", 1: "non-IP", 2: "all" };

type Words = { readonly [K in AttributeKey]?: (value: NonNullable<Attributes[K]>) => string };

/** Formats of attributes whose value alone is not clear. */
const WORDS: Words = {
  hostName: quote,
  vendorName: quote,
  preferredLanguage: quote,
  remoteEndId: describeRemoteEndId,
  ecnCapability: () => "yes",
  aggregators: (names) => names.map(quote).join(", "),
  routerId: (id) => formatAddress(UINT32.encode(id)),
  nonce: toHex,
  pseudowireType: pseudowire,
  pseudowireCapabilities: describePseudowireTypes,
  l2SpecificSublayer: (type) => named(type, SUBLAYERS),
  dataSequencing: (level) => named(level, SEQUENCING),
  circuitStatus: describeCircuitStatus,
  assignedCookie: (cookie) => cookie || "none",
  circuitErrors: (counters) =>
    Object.entries(counters)
      .map(([name, count]) => `${name} ${count}`)
      .join(", "),
};

/** Formats that replace secret values by their length. */
const LENGTHS: Words = {
  nonce: ({ length }) => octets(length),
  assignedCookie: (cookie) => (cookie === "" ? "none" : octets(cookie.length / 2)),
};

function quote(text: string): string {
  return JSON.stringify(printable(text));
}

function octets(length: number): string {
  return `(${length} octets)`;
}

/** Returns "5 (Ethernet), 12 (DOCSIS)"; no types: "". */
export function describePseudowireTypes(types: readonly number[]): string {
  return types.map(pseudowire).join(", ");
}

function pseudowire(type: number): string {
  return named(type, PSEUDOWIRE_WORDS);
}

function named(value: number, names: Readonly<Record<number, string>>): string {
  const name = names[value];
  return name === undefined ? String(value) : `${value} (${name})`;
}

/** Returns the message type, such as "ICRQ", or a substitute. */
export function describeType({ type, flaws }: Decoded): string {
  if (type === null) return "ZLB";
  if (type !== "unknown") return type;
  return flaws.find(({ name }) => name?.startsWith("Message Type"))?.name ?? "unknown";
}

/**
 * Returns a text for each attribute: "Host Name "node-1"".
 * @param leavesOutSecrets true: shows only the length of cookies and nonces
 */
export function describeAttributes(
  { type, attributes }: Decoded,
  leavesOutSecrets = false,
): string[] {
  const words = leavesOutSecrets ? { ...WORDS, ...LENGTHS } : WORDS;
  return (Object.keys(attributes) as AttributeKey[]).map((key) => {
    const { name } = ATTRIBUTES[key];
    return `${name} ${describeValue(type, key, attributes, words)}`;
  });
}

function describeValue<K extends AttributeKey>(
  type: Decoded["type"],
  key: K,
  attributes: Attributes,
  inWords: Words,
): string {
  const value = attributes[key] as NonNullable<Attributes[K]>;
  if (key === "resultCode" && attributes.resultCode !== undefined) {
    const { resultCode } = attributes;
    const of = type === "StopCCN" ? "StopCCN" : "CDN";
    return `${resultCode.result} (${describeResult(of, resultCode)})`;
  }
  const words = inWords[key] as ((value: NonNullable<Attributes[K]>) => string) | undefined;
  return words === undefined ? String(value) : words(value);
}

/** Returns a text for each foreign AVP: "Protocol Version of L2TPv2 0100". Values are in hexadecimal digits. */
export function describeForeign({ foreign, version }: Decoded, leavesOutSecrets = false): string[] {
  return foreign.map((attribute) => {
    const { vendor, type, name, value } = attribute;
    const whose = vendor === CISCO || version === 2 ? "" : " of L2TPv2";
    const isLeftOut = leavesOutSecrets && isSecret(vendor, type);
    return `${name}${whose} ${isLeftOut ? octets(value.length) : foreignValue(attribute)}`;
  });
}

function foreignValue({ isHidden, value }: ForeignAttribute): string {
  if (isHidden) return "(hidden)";
  return value.length === 0 ? "(empty)" : toHex(value);
}

/** Returns the fault as text, for people: "missing: Host Name". */
export function describeFlaw(flaw: Flaw): string {
  const must = flaw.what === "unknown" && flaw.isFatal ? ", and mandatory" : "";
  return `${flawInWords(flaw)}${must}`;
}
