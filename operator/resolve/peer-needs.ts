/** Settings of a tunnel that the peer has to match, or that keep a feature from it: sentences for the status. Pure. */
import { featuresOf } from "../../model/features.ts";
import type { Tunnel } from "../../model/model.ts";

/** Datagrams of the tunnel have no checksum where IPv6 asks for one (RFC 8200, section 8.1). */
export function sendsZeroChecksums({ encapsulation, udpChecksum, remote }: Tunnel): boolean {
  return encapsulation === "UDP" && !udpChecksum && remote.address.includes(":");
}

/** The setting by which the peer accepts them. */
export const ACCEPT_ZERO_CHECKSUMS =
  "the peer must accept zero checksums (RFC 6935; Linux: ip l2tp … udp6_csum_rx off)";

export function peerNeeds(tunnel: Tunnel): string[] {
  const checksums = sendsZeroChecksums(tunnel)
    ? [`Its datagrams have no UDP checksum: over IPv6 ${ACCEPT_ZERO_CHECKSUMS}.`]
    : [];
  const features = featuresOf(tunnel).flatMap(({ noun, whyNot }) => {
    const why = whyNot(tunnel);
    return why === null ? [] : [`It does without ${noun}: ${why}.`];
  });
  return [...checksums, ...features];
}
