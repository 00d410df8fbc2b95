/** Settings of control connections, from manifests to the datapath. */

import type { Session, SessionControl, Tunnel, TunnelControl } from "../../model/model.ts";
import { parseAddress } from "../../net/ip.ts";
import { parseDuration } from "../api/duration.ts";
import { endpointOf } from "../api/endpoint.ts";
import type { L2tpSession, SessionSpec, TunnelSpec } from "../api/types.ts";
import { controlMode } from "../api/validate.ts";
import { RefusalError } from "./refusal.ts";
import { readSecret, type SecretReader } from "./secret.ts";

/** Defaults recommended by RFC 3931, section 4.2. */
const RETRANSMISSION = { retransmitMs: 1000, retransmitCapMs: 8000, maxRetransmits: 10 };
const DEFAULT_HELLO_MS = 60_000;
/** Lower bound of the first retransmission delay, which a short deadAfter reduces. */
const LEAST_RETRANSMIT_MS = 100;

/** Returns the settings of the tunnel's control connection; null: it has none. @throws RefusalError */
export function tunnelControl(
  spec: TunnelSpec,
  localAddress: string,
  secrets: SecretReader,
): TunnelControl | null {
  const { control, nodeName, backup = [] } = spec;
  const mode = controlMode(spec);
  if (control === undefined || mode === "Static") return null;
  const helloMs = parseDuration(control.hello?.interval ?? "") ?? DEFAULT_HELLO_MS;
  const deadAfterMs = parseDuration(control.hello?.deadAfter ?? "") ?? null;
  const settings = {
    initiates: control.initiate ?? true,
    hostName: nodeName,
    routerId: routerId(localAddress),
    // The first secret signs and hides. Messages with either secret are accepted.
    secrets: (["secretRef", "previousSecretRef"] as const).flatMap((field) => {
      const reference = control[field];
      return reference === undefined ? [] : [sharedSecret(field, reference, secrets)];
    }),
    digest: control.digest === "HMAC-SHA1" ? "sha1" : "md5",
    hidesValues: control.hideValues ?? false,
    helloMs,
    deadAfterMs,
    ...retransmission(helloMs, deadAfterMs),
  } as const;
  if (mode === "Quiescent") return { ...settings, mode, backups: [] };
  return { ...settings, mode, backups: backup.map((peer) => endpointOf(spec, peer)) };
}

/** Returns delays for at least three retransmissions of a HELLO within deadAfter. */
function retransmission(helloMs: number, deadAfterMs: number | null) {
  if (deadAfterMs === null) return RETRANSMISSION;
  const quarter = Math.floor((deadAfterMs - helloMs) / 4);
  const retransmitMs = Math.min(
    RETRANSMISSION.retransmitMs,
    Math.max(LEAST_RETRANSMIT_MS, quarter),
  );
  return { ...RETRANSMISSION, retransmitMs, retransmitCapMs: 8 * retransmitMs };
}

/** Returns the last four octets of the address: the IPv4 address, or bytes that rarely collide among peers. */
function routerId(address: string): number {
  const octets = parseAddress(address) ?? new Uint8Array(4);
  return new DataView(octets.buffer, octets.byteOffset).getUint32(octets.length - 4);
}

function sharedSecret(
  field: string,
  reference: { namespace: string; name: string; key: string },
  secrets: SecretReader,
): string {
  const text = readSecret(`spec.control.${field}`, reference, secrets).replace(/\r?\n$/, "");
  if (text !== "") return Buffer.from(text).toString("hex");
  const { namespace, name, key } = reference;
  const message = `spec.control.${field}: key ${key} of Secret ${namespace}/${name} is empty; store the shared secret in it`;
  throw new RefusalError("Accepted", "InvalidSecret", message);
}

/** @throws RefusalError if fields of the session do not fit the tunnel's control mode */
export function requireFitting({ spec, metadata }: L2tpSession, tunnel: Tunnel): void {
  const problem = misfit(spec, tunnel);
  if (problem === null) return;
  throw new RefusalError("Accepted", "Invalid", `${metadata.name}: ${problem}`);
}

function misfit(spec: SessionSpec, { name, control }: Tunnel): string | null {
  if (control?.mode !== "Managed") {
    if (spec.peerSessionId === undefined) {
      return `spec.peerSessionId: required, because L2tpTunnel ${name} is not Managed; set the peer's session ID`;
    }
    const named = (["remoteEndId", "remoteEndIdOctets"] as const).find(
      (field) => spec[field] !== undefined,
    );
    return named === undefined
      ? null
      : `spec.${named}: not supported, because L2tpTunnel ${name} is not Managed; omit it`;
  }
  if (spec.peerSessionId !== undefined) {
    return `spec.peerSessionId: negotiated, because L2tpTunnel ${name} is Managed; omit it`;
  }
  return spec.cookies?.transmit === undefined
    ? null
    : `spec.cookies.transmit: negotiated, because L2tpTunnel ${name} is Managed; omit it`;
}

/** Values that a session of a managed tunnel signals. */
interface SignalledTerms {
  readonly remoteEndId: string;
  /** Empty: random. */
  readonly rxCookie: string;
  /** The type's number (model/pseudowires/). */
  readonly pseudowireType: number;
}

/** Returns the session's signaling settings; null: the tunnel is not managed. */
export function sessionControl(
  { spec: { control } }: { readonly spec: TunnelSpec },
  tunnel: Tunnel,
  { remoteEndId, rxCookie, pseudowireType }: SignalledTerms,
): SessionControl | null {
  if (tunnel.control?.mode !== "Managed") return null;
  return {
    remoteEndId,
    places: control?.role === "LNS" ? null : "ICRQ",
    pseudowireType,
    rxCookie: rxCookie === "" ? null : rxCookie,
    circuit: { active: false, standby: false },
  };
}

/** Returns the session with its circuit, which is active while a pod is attached. */
export function withCircuit(session: Session, isAttached: boolean): Session {
  const { control } = session;
  if (control === undefined) return session;
  return { ...session, control: { ...control, circuit: { active: isAttached, standby: false } } };
}
