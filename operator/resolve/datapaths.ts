/** Chooses the datapath of each tunnel. */
import { DATAPATHS, FALLBACK } from "../../datapath/registry/datapaths.ts";
import type { DatapathTraits, Host, KernelSupport } from "../../model/datapath.ts";
import type { Tunnel } from "../../model/model.ts";
import type { L2tpSession, L2tpTunnel } from "../api/types.ts";
import type { placed } from "./held.ts";
import { RefusalError } from "./refusal.ts";
import { whyNotSession } from "./session-kind.ts";

export interface DatapathContext {
  /** The administrator's choice for tunnels with datapath Auto, a value of spec.datapath; null: none. */
  readonly preferred: string | null;
  readonly kernel: KernelSupport;
}

/** A tunnel and its manifest. */
interface Located {
  readonly object: L2tpTunnel;
  readonly tunnel: Tunnel;
}

/** Tunnels that share a local address and port, by name. */
export type SharedEndpoints = ReadonlyMap<string, Sharing>;

/** Facts about a node's tunnels beyond their own specs. */
export interface TunnelNeighbors {
  readonly shared: SharedEndpoints;
  /** Sessions that can exclude a datapath for a tunnel with datapath Auto, by the tunnel's name. */
  readonly sessions: ReadonlyMap<string, readonly L2tpSession[]>;
}

interface Sharing {
  /** Another tunnel of the same address and port. */
  readonly other: string;
  /** The tunnel that has the port for itself; null: none. */
  readonly kernels: string | null;
}

/** Returns the datapaths that serve such a tunnel, in order of preference. */
function candidates(tunnel: Tunnel): DatapathTraits[] {
  return DATAPATHS.map(({ traits }) => traits).filter((traits) => traits.serves(tunnel));
}

/** Returns the datapath that the manifest names; undefined: Auto. */
function askedFor({ object: { spec }, tunnel }: Located): DatapathTraits | undefined {
  return candidates(tunnel).find(({ apiName }) => apiName === spec.datapath);
}

/** True if the kernel's support must be probed, because the tunnel may use the kernel. */
export function mayNeedKernel(
  { spec: { datapath = "Auto" } }: L2tpTunnel,
  preferred: string | null,
): boolean {
  const asked = datapath === "Auto" ? preferred : datapath;
  return DATAPATHS.some(
    ({ traits }) => traits.needsKernelL2tp && (asked === null || asked === traits.apiName),
  );
}

/**
 * Returns the tunnels that share an endpoint, and which of them has the port for itself. A programmed tunnel wins over
 * a new one.
 */
export function sharedEndpoints(
  tunnels: readonly Located[],
  programmed: ReturnType<typeof placed>,
): SharedEndpoints {
  const overUdp = tunnels.filter(({ tunnel }) => tunnel.encapsulation === "UDP");
  const at = ({ tunnel: { local, device } }: Located) =>
    `${local.address} ${local.port} ${device?.name ?? ""}`;
  const sharing = new Map<string, Sharing>();
  for (const group of Map.groupBy(overUdp, at).values()) {
    const [first, ...others] = group.map(askedFor);
    const haveRemotes =
      first?.ports === "perRemote" && others.every((traits) => traits?.name === first.name);
    if (group.length === 1 || haveRemotes) continue;
    const names = group.map(({ tunnel }) => tunnel.name).sort();
    const pinned = group.filter((located) => (askedFor(located)?.ports ?? "shared") !== "shared");
    const pinnedNames = pinned.map(({ tunnel }) => tunnel.name).sort();
    const incumbent = pinnedNames.find((name) => programmed.kernelTunnels.has(name));
    const isTaken = names.some(
      (name) =>
        programmed.tunnels.has(name) &&
        !programmed.kernelTunnels.has(name) &&
        !pinnedNames.includes(name),
    );
    const kernels = incumbent ?? (isTaken ? null : (pinnedNames[0] ?? null));
    for (const name of names) {
      sharing.set(name, { other: names.find((other) => other !== name) ?? "", kernels });
    }
  }
  return sharing;
}

/**
 * Chooses the first datapath that supports the tunnel, among those that the manifest permits.
 * @returns the datapath, and with Auto why it is not the first one
 * @throws RefusalError if no permitted datapath supports the tunnel
 */
export function chooseDatapath(
  located: Located,
  neighbors: TunnelNeighbors,
  { preferred, kernel }: DatapathContext,
): { readonly datapath: string; readonly notInKernel: string | null } {
  const { tunnel } = located;
  const { datapath: asked = "Auto" } = located.object.spec;
  const owner = neighbors.shared.get(tunnel.name)?.kernels ?? null;
  if (owner !== null && owner !== tunnel.name) {
    const message = `spec.local.port: ${tunnel.local.port}: L2tpTunnel ${owner} uses this port in the kernel, which cannot share ports; use another port, or set spec.datapath: Auto on L2tpTunnel ${owner}`;
    throw new RefusalError("Accepted", "Conflict", message);
  }
  const wish = asked === "Auto" ? preferred : asked;
  const all = candidates(tunnel);
  const host = { kernel, isOpen: wish === null };
  const tried = wish === null ? all : all.filter(({ apiName }) => apiName === wish);
  const reasons = tried.map((traits) => whyNot(traits, tunnel, neighbors, host));
  const chosen = tried[reasons.indexOf(null)];
  const isPassedOver = asked === "Auto" && chosen !== all[0];
  const option = `the agent runs with --datapath ${wish?.toLowerCase()}`;
  if (chosen !== undefined) {
    const reason = wish === null ? (reasons[0] ?? null) : option;
    return { datapath: chosen.name, notInKernel: isPassedOver ? reason : null };
  }
  const who = asked === "Auto" ? option : `spec.datapath: "${wish}"`;
  const message = `${who}: ${reasons[0]}; fix this, or set spec.datapath: ${FALLBACK.apiName}`;
  throw new RefusalError("Programmed", `No${wish}Datapath`, message);
}

function whyNot(
  traits: DatapathTraits,
  tunnel: Tunnel,
  { shared, sessions }: TunnelNeighbors,
  host: Host,
): string | null {
  const ofSessions = host.isOpen ? (sessions.get(tunnel.name) ?? []) : [];
  for (const object of ofSessions) {
    const why = whyNotSession(object, traits, host.kernel);
    if (why !== null) return why;
  }
  const reason = traits.whyNot(tunnel, host);
  const sharing = shared.get(tunnel.name);
  if (reason !== null || traits.ports === "shared" || sharing === undefined) return reason;
  if (sharing.kernels === tunnel.name) return null;
  return `L2tpTunnel ${sharing.other} has the same local address and port, and the kernel cannot share ports`;
}
