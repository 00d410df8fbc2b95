/**
 * What a schema cannot say of a single object: every bad field at once, with what would be right.
 * Rules between objects are in model/conflicts.ts.
 */

import type { FieldProblem } from "../../model/problem.ts";
import { ETHERNET_HEADER_BYTES } from "../../net/headers.ts";
import { type AddressKind, addressKind, canonicalAddress, parseAddress } from "../../net/ip.ts";
import type { CookieSpec, SessionSpec, TunnelSpec } from "./types.ts";

/** The registered port of L2TP (RFC 3931 §4.1.2.1). */
export const DEFAULT_UDP_PORT = 1701;
export const MAX_ID = 0xffff_ffff;
/** The least that IPv4 needs (RFC 791), and what a 16-bit IP length leaves for an Ethernet frame. */
export const MIN_MTU = 68;
export const MAX_MTU = 65_535 - ETHERNET_HEADER_BYTES;
const MAX_REORDER_TIMEOUT_MS = 10_000;

class Problems {
  readonly found: FieldProblem[] = [];

  add(path: string, value: unknown, reason: string, remedy: string): void {
    this.found.push({ path, value, reason, remedy });
  }
}

export function validateTunnel(spec: TunnelSpec): FieldProblem[] {
  const problems = new Problems();
  checkId(problems, "spec.tunnelId", spec.tunnelId);
  checkId(problems, "spec.peerTunnelId", spec.peerTunnelId);
  checkControl(problems, spec);
  checkAddress(problems, "spec.remote.address", spec.remote.address);
  checkBackups(problems, spec);
  checkLocal(problems, spec);
  checkPorts(problems, spec);
  if (spec.encapsulation === "IP" && spec.udpChecksum === false) {
    problems.add("spec.udpChecksum", false, "there is no UDP", "leave it out, or use UDP");
  }
  if (spec.fastPath === true) checkFastPath(problems, spec);
  if (spec.allowedNamespaces?.from === "Selector" && !spec.allowedNamespaces.selector) {
    const path = "spec.allowedNamespaces.selector";
    problems.add(path, undefined, "Selector needs one", "give it matchLabels, or use from: All");
  }
  return problems.found;
}

function checkFastPath(problems: Problems, spec: TunnelSpec): void {
  const { encapsulation, udpChecksum, datapath } = spec;
  if (encapsulation === "IP" || udpChecksum !== false) {
    const remedy = "set udpChecksum: false (with UDP encapsulation), or leave it out";
    problems.add("spec.fastPath", true, "the fast path makes no UDP checksums", remedy);
  }
  if (datapath === "Kernel") {
    const reason = "the fast path is the userspace datapath's";
    problems.add("spec.datapath", datapath, reason, "leave it out, or fastPath");
  }
}

/** How the tunnel's control connection is held. */
export function controlMode({ control }: { readonly control?: TunnelSpec["control"] | undefined }) {
  return control === undefined ? "Static" : (control.mode ?? "Managed");
}

function checkControl(problems: Problems, spec: TunnelSpec): void {
  const { control, peerTunnelId, datapath, encapsulation, backup = [] } = spec;
  const mode = controlMode(spec);
  if (mode === "Managed" && peerTunnelId !== undefined) {
    const reason = "in a Managed tunnel the peer tells its id";
    problems.add("spec.peerTunnelId", peerTunnelId, reason, "leave it out");
  } else if (mode !== "Managed" && peerTunnelId === undefined) {
    const remedy = "give the peer's id of the tunnel, or use spec.control.mode: Managed";
    problems.add("spec.peerTunnelId", undefined, "missing", remedy);
  }
  if (control === undefined || mode === "Static") return;
  if (datapath === "Kernel" && (encapsulation === "IP" || backup.length > 0)) {
    const what = encapsulation === "IP" ? "a control connection over IP is" : "backups are";
    const reason = `${what} the userspace datapath's`;
    problems.add("spec.datapath", datapath, reason, "leave it out");
  }
  if (mode !== "Managed" && control.secretRef !== undefined) {
    const path = "spec.control.secretRef";
    problems.add(path, undefined, "only a Managed tunnel authenticates", "leave it out");
  }
  if (control.secretRef === undefined && control.previousSecretRef !== undefined) {
    const path = "spec.control.previousSecretRef";
    const remedy = "give secretRef too, or leave it out";
    problems.add(path, undefined, "it is what secretRef was before", remedy);
  }
  checkHello(problems, control);
}

const MIN_HELLO_MS = 1000;
const MAX_HELLO_MS = 3_600_000;
const MAX_DEAD_AFTER_MS = 86_400_000;

function checkHello(problems: Problems, { hello }: NonNullable<TunnelSpec["control"]>): void {
  const interval = parseDuration(hello?.interval ?? "60s");
  if (interval === undefined || interval < MIN_HELLO_MS || interval > MAX_HELLO_MS) {
    const path = "spec.control.hello.interval";
    problems.add(path, hello?.interval, "not an interval", "from 1s to 3600s");
  }
  if (hello?.deadAfter === undefined) return;
  const deadAfter = parseDuration(hello.deadAfter);
  if (deadAfter === undefined || deadAfter <= (interval ?? 0) || deadAfter > MAX_DEAD_AFTER_MS) {
    const remedy = "longer than hello.interval, and 86400s at most";
    problems.add("spec.control.hello.deadAfter", hello.deadAfter, "not a bound", remedy);
  }
}

function checkId(problems: Problems, path: string, id: number | undefined): void {
  if (id === undefined || (Number.isInteger(id) && id >= 1 && id <= MAX_ID)) return;
  // Id 0 marks control messages (RFC 3931 §4.1.1.1).
  problems.add(path, id, "not an id", `a whole number from 1 to ${MAX_ID}`);
}

const UNUSABLE: Partial<Record<AddressKind, string>> = {
  unspecified: "it is no node's",
  multicast: "a tunnel has one peer, not a group",
  broadcast: "a tunnel has one peer, not a network",
  "link-local": "L2TP has no field for the interface that it belongs to",
};

function checkAddress(problems: Problems, path: string, address: string): void {
  const bytes = parseAddress(address);
  if (bytes === undefined) {
    problems.add(path, address, "not an IP address", "IPv4 or IPv6, such as 192.0.2.1");
    return;
  }
  const kind = addressKind(bytes);
  const reason = UNUSABLE[kind];
  if (reason !== undefined) {
    problems.add(path, address, `a ${kind} address: ${reason}`, "a unicast address");
  }
}

function checkBackups(
  problems: Problems,
  { backup = [], control, remote, local }: TunnelSpec,
): void {
  if (backup.length > 0 && (control === undefined || (control.mode ?? "Managed") !== "Managed")) {
    const reason = "only a Managed tunnel can have backups";
    const remedy = "leave it out, or use spec.control.mode: Managed";
    problems.add("spec.backup", undefined, reason, remedy);
  }
  const known = new Map([[canonicalAddress(remote.address), "spec.remote"]]);
  if (local?.address !== undefined) known.set(canonicalAddress(local.address), "spec.local");
  for (const [index, { address }] of backup.entries()) {
    const path = `spec.backup[${index}].address`;
    checkAddress(problems, path, address);
    if (address.includes(":") !== remote.address.includes(":")) {
      problems.add(path, address, "not of the remote's family", "IPv4 or IPv6, as spec.remote");
    }
    const before = known.get(canonicalAddress(address));
    if (before !== undefined) {
      problems.add(path, address, `the address of ${before}`, "another peer's address");
    }
    known.set(canonicalAddress(address), `spec.backup[${index}]`);
  }
}

function checkLocal(problems: Problems, { local, remote, encapsulation }: TunnelSpec): void {
  if (local?.address === undefined) return;
  checkAddress(problems, "spec.local.address", local.address);
  if (local.interface !== undefined) {
    const remedy = "keep one of the two";
    problems.add("spec.local.interface", local.interface, "the address is given too", remedy);
  }
  const here = parseAddress(local.address);
  const there = parseAddress(remote.address);
  if (here === undefined || there === undefined) return;
  if (here.length !== there.length) {
    const remedy = `an IPv${there.length === 4 ? 4 : 6} address, as the remote's`;
    problems.add("spec.local.address", local.address, "not of the remote's family", remedy);
  }
  const samePort =
    encapsulation === "IP" ||
    (local.port ?? DEFAULT_UDP_PORT) === (remote.port ?? DEFAULT_UDP_PORT);
  if (samePort && canonicalAddress(local.address) === canonicalAddress(remote.address)) {
    const remedy = "the address of the other end";
    problems.add("spec.remote.address", remote.address, "the tunnel leads to itself", remedy);
  }
}

function checkPorts(
  problems: Problems,
  { encapsulation, local, remote, backup = [] }: TunnelSpec,
): void {
  for (const [path, port] of [
    ["spec.local.port", local?.port],
    ["spec.remote.port", remote.port],
    ...backup.map(({ port }, index) => [`spec.backup[${index}].port`, port] as const),
  ] as const) {
    if (port === undefined) continue;
    if (encapsulation === "IP") {
      problems.add(path, port, "IP encapsulation has no ports", "leave it out, or use UDP");
    } else if (!Number.isInteger(port) || port < 1 || port > 65_535) {
      problems.add(path, port, "not a UDP port", "a whole number from 1 to 65535");
    }
  }
}

export function validateSession(spec: SessionSpec): FieldProblem[] {
  const problems = new Problems();
  checkId(problems, "spec.sessionId", spec.sessionId);
  checkId(problems, "spec.peerSessionId", spec.peerSessionId);
  checkCookie(problems, "spec.cookies.receive", spec.cookies?.receive);
  checkCookie(problems, "spec.cookies.transmit", spec.cookies?.transmit);
  checkSequencing(problems, spec);
  const { mtu } = spec;
  if (mtu !== undefined && (!Number.isInteger(mtu) || mtu < MIN_MTU || mtu > MAX_MTU)) {
    const remedy = `a whole number from ${MIN_MTU} to ${MAX_MTU}, or leave it out`;
    problems.add("spec.mtu", mtu, "not an MTU", remedy);
  }
  return problems.found;
}

function checkCookie(problems: Problems, path: string, cookie: CookieSpec | undefined): void {
  if (cookie === undefined) return;
  if ((cookie.value === undefined) === (cookie.valueFrom === undefined)) {
    const reason = cookie.value === undefined ? "empty" : "two sources";
    problems.add(path, undefined, reason, "give it either value or valueFrom");
  } else if (cookie.value !== undefined && parseCookie(cookie.value) === undefined) {
    problems.add(`${path}.value`, undefined, cookieProblem(cookie.value), COOKIE_REMEDY);
  }
}

const COOKIE_REMEDY = "8 or 16 hexadecimal digits (4 or 8 bytes), as in a1b2c3d4";

/** What is wrong with the text, without showing it: cookies are secrets. */
export function cookieProblem(text: string): string {
  const digits = text.trim().replace(/^0x/i, "");
  return /^[0-9a-f]*$/i.test(digits)
    ? `${digits.length} hexadecimal digits, which is no length of a cookie`
    : "not hexadecimal";
}

/** A cookie's digits in lower case, or undefined where the text is none. */
export function parseCookie(text: string): string | undefined {
  const digits = text.trim().replace(/^0x/i, "").toLowerCase();
  return /^([0-9a-f]{8}){1,2}$/.test(digits) ? digits : undefined;
}

function checkSequencing(problems: Problems, spec: SessionSpec): void {
  const { sequencing, l2SpecificSublayer } = spec;
  if (sequencing === undefined) return;
  const timeout = parseDuration(sequencing.reorderTimeout ?? "0ms");
  const path = "spec.sequencing.reorderTimeout";
  const value = sequencing.reorderTimeout;
  if (timeout === undefined || timeout > MAX_REORDER_TIMEOUT_MS) {
    const remedy = `milliseconds or seconds up to ${MAX_REORDER_TIMEOUT_MS}ms, such as 50ms`;
    problems.add(path, value, "not a time to wait", remedy);
  } else if (timeout > 0 && sequencing.receive !== true) {
    const remedy = "set spec.sequencing.receive: true";
    problems.add(path, value, "received sequence numbers do not count", remedy);
  }
  if (l2SpecificSublayer === "None" && (sequencing.send || sequencing.receive)) {
    const remedy = "use l2SpecificSublayer: Default, at both ends";
    const reason = "sequence numbers stand in the sublayer";
    problems.add("spec.l2SpecificSublayer", "None", reason, remedy);
  }
}

/** "50ms" or "2s" in milliseconds, or undefined. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d{1,9})(ms|s)$/.exec(text);
  if (match === null) return undefined;
  return Number(match[1]) * (match[2] === "s" ? 1000 : 1);
}
