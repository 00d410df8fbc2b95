/** Keyed IPv6 tunnels (RFC 8159): the pair of addresses tells the one session of a tunnel from all others. */
import type { Session, Tunnel } from "../../model/model.ts";
import { describeProblem, type FieldProblem } from "../../model/problem.ts";
import {
  canonicalNetwork,
  formatPrefix,
  networkOf,
  parseAddress,
  parsePrefix,
} from "../../net/ip.ts";
import type { L2tpTunnel, TunnelSpec } from "../api/types.ts";
import { RefusalError } from "./refusal.ts";

const COOKIE_DIGITS = 16;

/** The prefixes of which tunnels of the node have their addresses, in canonical form. */
export function localPrefixes(tunnels: Iterable<L2tpTunnel>, nodeName: string): Set<string> {
  const prefixes = Array.from(tunnels, ({ spec }) =>
    spec.nodeName === nodeName && misfit(spec) === null ? prefixOf(spec) : undefined,
  );
  return new Set(prefixes.filter((prefix) => prefix !== undefined));
}

/**
 * @param problems why a prefix is not routed to the node, by the prefix
 * @throws RefusalError
 */
export function keyedFields(
  spec: TunnelSpec,
  problems: ReadonlyMap<string, string>,
): Pick<Tunnel, "keyed" | "localPrefix"> {
  if (!spec.keyed) return {};
  const problem = misfit(spec);
  if (problem !== null) throw new RefusalError("Accepted", "Invalid", describeProblem(problem));
  const localPrefix = prefixOf(spec);
  if (localPrefix === undefined) return { keyed: true };
  const notRouted = problems.get(localPrefix);
  if (notRouted !== undefined) {
    const remedy = "use a prefix that the network routes to this node, and that no link has";
    const where = { path: "spec.local.prefix", value: localPrefix };
    const message = describeProblem({ ...where, reason: notRouted, remedy });
    throw new RefusalError("Programmed", "NoLocalPrefix", message);
  }
  return { keyed: true, localPrefix };
}

/** @throws RefusalError */
export function keyedSession(
  { rxCookie, txCookie }: Pick<Session, "rxCookie" | "txCookie">,
  { keyed, name, tunnelId }: Tunnel,
): Pick<Session, "deviceId"> {
  if (!keyed) return {};
  for (const [field, cookie] of [
    ["receive", rxCookie],
    ["transmit", txCookie],
  ] as const) {
    if (cookie.length === COOKIE_DIGITS) continue;
    const bytes = cookie.length / 2;
    const message = describeProblem({
      path: `spec.cookies.${field}`,
      value: undefined,
      reason: `${bytes === 0 ? "missing" : `${bytes} bytes`}, and L2tpTunnel ${name} is keyed (RFC 8159)`,
      remedy: "give a cookie of 16 hexadecimal digits",
    });
    throw new RefusalError("Accepted", "Invalid", message);
  }
  return { deviceId: tunnelId };
}

function prefixOf({ keyed, local }: TunnelSpec): string | undefined {
  return keyed && local?.prefix !== undefined ? canonicalNetwork(local.prefix) : undefined;
}

function misfit(spec: TunnelSpec): FieldProblem | null {
  const { local, remote } = spec;
  if (!spec.keyed || local?.prefix === undefined || local.address === undefined) return null;
  const path = "spec.local.prefix";
  const prefix = parsePrefix(local.prefix);
  if (prefix?.address.length !== 16) {
    return {
      path,
      value: local.prefix,
      reason: "not an IPv6 prefix",
      remedy: "such as 2001:db8:1::/64",
    };
  }
  const text = formatPrefix(networkOf(prefix));
  const isIn = (address: string) => {
    const bytes = parseAddress(address);
    if (bytes?.length !== 16) return false;
    return formatPrefix(networkOf({ address: bytes, length: prefix.length })) === text;
  };
  if (isIn(remote.address)) {
    const reason = `the remote ${remote.address} is in it, and would not be reached`;
    return { path, value: local.prefix, reason, remedy: "use a prefix of this node's alone" };
  }
  if (isIn(local.address)) return null;
  const reason = `not an address of spec.local.prefix ${local.prefix}`;
  return { path: "spec.local.address", value: local.address, reason, remedy: "use one of it" };
}
