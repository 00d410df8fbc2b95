/** Settings of a tunnel that the peer must match, or that disable a feature: sentences for the status. Pure. */
import { featuresOf } from "../../model/features.ts";
import type { Tunnel } from "../../model/model.ts";

/** True if the tunnel sends no UDP checksums over IPv6, which requires them (RFC 8200, section 8.1). */
export function sendsZeroChecksums({ encapsulation, udpChecksum, remote }: Tunnel): boolean {
  return encapsulation === "UDP" && !udpChecksum && remote.address.includes(":");
}

/** The peer's setting that accepts such datagrams. */
export const ACCEPT_ZERO_CHECKSUMS =
  "the peer must accept zero checksums (RFC 6935; Linux: ip l2tp … udp6_csum_rx off)";

/** Returns the sentences; empty: none apply. */
export function peerNeeds(tunnel: Tunnel): string[] {
  const checksums = sendsZeroChecksums(tunnel)
    ? [`The tunnel sends no UDP checksums: over IPv6 ${ACCEPT_ZERO_CHECKSUMS}.`]
    : [];
  const features = featuresOf(tunnel).flatMap(({ noun, whyNot }) => {
    const why = whyNot(tunnel);
    return why === null ? [] : [`The tunnel does not use ${noun}: ${why}.`];
  });
  return [...checksums, ...features];
}
