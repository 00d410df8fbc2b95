/** Rejects IPv6 addresses on an interface whose MTU is too small for IPv6. */
import { IPV6_MIN_MTU } from "../../net/headers.ts";
import { AgentError } from "../agent-error.ts";
import type { ResolvedSession } from "../resolve/resolved.ts";

/**
 * The kernel disables IPv6 on a link with an MTU below 1280 (net/ipv6/addrconf.c), and rejects addresses with EINVAL.
 * @param addresses the pod's addresses, such as "2001:db8::1/64"
 * @throws AgentError that names the path, and spec.mtu as the remedy
 */
export function requireIpv6Mtu(
  { object, session: { key, mtu }, tunnel, pathMtu }: ResolvedSession,
  addresses: readonly string[],
): void {
  const address = addresses.find((each) => each.includes(":"));
  if (address === undefined || mtu >= IPV6_MIN_MTU) return;
  const needs = `IPv6 needs ${IPV6_MIN_MTU}, and the pod requests ${address}`;
  if (object.spec.mtu !== undefined) {
    const remedy = `set spec.mtu: ${IPV6_MIN_MTU} or more at both ends, or give the pod no IPv6 address`;
    throw new AgentError("MtuTooSmall", `L2tpSession ${key}: spec.mtu is ${mtu}; ${needs}`, remedy);
  }
  const { address: remote } = tunnel.remote;
  const path = `the path to ${remote} carries packets of ${pathMtu} bytes, which leaves an MTU of ${mtu}`;
  const remedy = `set spec.mtu: ${IPV6_MIN_MTU} at both ends; datagrams that are too large for the path are then fragmented`;
  throw new AgentError("MtuTooSmall", `L2tpSession ${key}: ${path}; ${needs}`, remedy);
}
