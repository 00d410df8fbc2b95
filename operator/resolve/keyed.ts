/** Keyed IPv6 tunnels (RFC 8159): the pair of addresses identifies the tunnel's one session. */
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

/** Returns the prefixes of the valid keyed tunnels of the node, in canonical form. */
export function localPrefixes(tunnels: Iterable<L2tpTunnel>, nodeName: string): Set<string> {
  const prefixes = Array.from(tunnels, ({ spec }) =>
    spec.nodeName === nodeName && misfit(spec) === null ? prefixOf(spec) : undefined,
  );
  return new Set(prefixes.filter((prefix) => prefix !== undefined));
}

/**
 * Returns the keyed tunnel's fields.
 * @param problems the reasons why prefixes cannot be routed to the node, by prefix
 * @throws RefusalError if the prefix is invalid or cannot be routed
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
    const remedy = "use a prefix that the network routes to this node, and that no interface has";
    const where = { path: "spec.local.prefix", value: localPrefix };
    const message = describeProblem({ ...where, reason: notRouted, remedy });
    throw new RefusalError("Programmed", "NoLocalPrefix", message);
  }
  return { keyed: true, localPrefix };
}

/** Returns the fields of a keyed tunnel's session. @throws RefusalError if a cookie does not have 8 bytes */
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
      reason: `${bytes === 0 ? "missing" : `${bytes} bytes`}, but L2tpTunnel ${name} is keyed (RFC 8159)`,
      remedy: "use a cookie of 16 hexadecimal digits",
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
      remedy: "use a prefix such as 2001:db8:1::/64",
    };
  }
  const text = formatPrefix(networkOf(prefix));
  const isIn = (address: string) => {
    const bytes = parseAddress(address);
    if (bytes?.length !== 16) return false;
    return formatPrefix(networkOf({ address: bytes, length: prefix.length })) === text;
  };
  if (isIn(remote.address)) {
    const reason = `contains spec.remote.address ${remote.address}, which would be unreachable`;
    return { path, value: local.prefix, reason, remedy: "use a prefix of this node only" };
  }
  if (isIn(local.address)) return null;
  const reason = `not an address of spec.local.prefix ${local.prefix}`;
  const remedy = "use an address of the prefix";
  return { path: "spec.local.address", value: local.address, reason, remedy };
}
