/** The local endpoint of a tunnel, and the paths to its remotes. */
import type { BoundDevice } from "../../model/model.ts";
import { describeProblem } from "../../model/problem.ts";
import { canonicalAddress } from "../../net/ip.ts";
import type { L2tpTunnel, TunnelSpec } from "../api/types.ts";
import { RefusalError } from "./refusal.ts";
import type { Programmed, ResolvedTunnel } from "./resolved.ts";

interface Route {
  readonly source: string | undefined;
  readonly mtu: number;
  /** The route type of the remote by rtnetlink's name: "unicast", "local", "broadcast", … */
  readonly type: string;
}

/** The paths and addresses of the node (underlay/). */
export interface NodePaths {
  /**
   * @throws Error with `code`: ENETUNREACH or EHOSTUNREACH without a route, EADDRNOTAVAIL if the node does not have
   * `local`
   */
  route(remote: string, local?: string, device?: BoundDevice): Route;
  /** Returns an address of the interface, of the family and scope of `remote`; undefined: it has none. */
  interfaceAddress(name: string, remote: string): string | undefined;
  /**
   * Returns the device to bind the tunnel's socket to: a VRF, or the link of link-local addresses.
   * @returns null: none; undefined: the node does not have the local address
   */
  deviceToBind(
    local: NonNullable<TunnelSpec["local"]>,
    remote: string,
  ): BoundDevice | null | undefined;
}

interface EndsContext {
  readonly underlay: NodePaths;
  readonly programmed: Programmed & { readonly underlayMtus: ReadonlyMap<string, number> };
}

interface Ends extends Pick<ResolvedTunnel, "underlayMtu" | "noRoute" | "isAddressLost"> {
  readonly local: string;
  readonly device: BoundDevice | null;
}

/** A missing path. */
interface NoPath {
  readonly noRoute: string;
  readonly isAddressLost: boolean;
}

const FALLBACK_UNDERLAY_MTU = 1500;
/** Route types of addresses that are not a single host. */
const GROUPS: ReadonlySet<string> = new Set(["broadcast", "multicast", "anycast"]);

/** Returns the local endpoint, the device to bind to, and the path MTU. @throws RefusalError */
export function resolveEnds({ metadata, spec }: L2tpTunnel, context: EndsContext): Ends {
  const { underlay, programmed } = context;
  const given = givenLocal(spec, underlay);
  const found =
    given === undefined ? null : underlay.deviceToBind(spec.local ?? {}, spec.remote.address);
  // The socket stays bound to its device while no link has its address.
  const device = found === undefined ? (programmed.devices?.get(metadata.name) ?? null) : found;
  const remotes = [spec.remote, ...(spec.backup ?? [])].map(({ address }) => address);
  const paths = remotes.map((remote) => nextHop(remote, given, device, underlay));
  requireHosts(remotes, paths);
  // Frames must fit the path to each remote that can become active.
  const routes = paths.filter((path) => "mtu" in path);
  const [missing] = paths.filter((path) => "noRoute" in path);
  const [first] = routes;
  const local = given ?? first?.source;
  if (local === undefined) {
    const message = `cannot choose a local address: ${missing?.noRoute}; add a route, or set spec.local.address`;
    throw new RefusalError("Programmed", "NoRoute", message);
  }
  const underlayMtu =
    first === undefined
      ? (programmed.underlayMtus.get(metadata.name) ?? FALLBACK_UNDERLAY_MTU)
      : Math.min(...routes.map(({ mtu }) => mtu));
  return {
    local: canonicalAddress(local),
    device,
    underlayMtu,
    noRoute: missing?.noRoute ?? null,
    isAddressLost: missing?.isAddressLost ?? false,
  };
}

/** Returns the smallest MTU of the tunnel's paths now, in bytes; null: no path is known. */
export function pathMtuNow({ spec }: L2tpTunnel, underlay: NodePaths): number | null {
  try {
    const given = givenLocal(spec, underlay);
    const device =
      given === undefined ? null : underlay.deviceToBind(spec.local ?? {}, spec.remote.address);
    const remotes = [spec.remote, ...(spec.backup ?? [])];
    const mtus = remotes.flatMap(({ address }) => {
      const path = nextHop(address, given, device ?? null, underlay);
      return "mtu" in path ? path.mtu : [];
    });
    return mtus.length === 0 ? null : Math.min(...mtus);
  } catch (error) {
    if (error instanceof RefusalError) return null;
    throw error;
  }
}

function nextHop(
  remote: string,
  given: string | undefined,
  device: BoundDevice | null,
  underlay: NodePaths,
): Route | NoPath {
  try {
    const route = underlay.route(remote, given, device ?? undefined);
    if (given !== undefined || route.source !== undefined) return route;
  } catch (error) {
    const code = (error as { code?: string }).code ?? String(error);
    const isAddressLost = code === "EADDRNOTAVAIL";
    return { noRoute: `no route to ${remote} (${code})`, isAddressLost };
  }
  throw new RefusalError(
    "Programmed",
    "NoLocalAddress",
    `no source address to ${remote}; set spec.local.address`,
  );
}

/** @throws RefusalError if a remote is a broadcast, multicast or anycast address by the node's routes */
function requireHosts(remotes: readonly string[], paths: readonly (Route | NoPath)[]): void {
  for (const [index, path] of paths.entries()) {
    if (!("type" in path) || !GROUPS.has(path.type)) continue;
    const problem = {
      path: index === 0 ? "spec.remote.address" : `spec.backup[${index - 1}].address`,
      value: remotes[index],
      reason: `${path.type === "anycast" ? "an" : "a"} ${path.type} address of this node's network`,
      remedy: "use the address of the peer",
    };
    throw new RefusalError("Programmed", "InvalidRemote", describeProblem(problem));
  }
}

function givenLocal({ local, remote }: TunnelSpec, underlay: NodePaths): string | undefined {
  if (local?.interface === undefined) return local?.address;
  const address = underlay.interfaceAddress(local.interface, remote.address);
  if (address !== undefined) return address;
  const family = remote.address.includes(":") ? "IPv6" : "IPv4";
  const message = `spec.local.interface: interface ${local.interface} has no ${family} address; add one, or use another interface`;
  throw new RefusalError("Programmed", "NoLocalAddress", message);
}
