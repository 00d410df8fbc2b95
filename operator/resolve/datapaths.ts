/** Who is to move the frames of a tunnel. */
import type { KernelSupport } from "../../datapath/kernel/support.ts";
import { featuresOf } from "../../model/features.ts";
import type { Datapath, Tunnel } from "../../model/model.ts";
import type { L2tpTunnel } from "../api/types.ts";
import type { placed } from "./held.ts";
import { RefusalError } from "./refusal.ts";

export interface DatapathContext {
  /** What the node's administrator has said: a datapath for all tunnels that leave it open, or none. */
  readonly preferred: Datapath | null;
  readonly kernel: KernelSupport;
}

/** A tunnel, and what its manifest says. */
interface Located {
  readonly object: L2tpTunnel;
  readonly tunnel: Tunnel;
}

/** Tunnels that share a local address and port: by name, who else is there. */
export type SharedEndpoints = ReadonlyMap<string, Sharing>;

/** What else is to be known of the tunnels of a node. */
export interface TunnelNeighbors {
  readonly shared: SharedEndpoints;
  /** By name: why, for a session's sake, the tunnel must not be in the kernel, where that is open. */
  readonly held: ReadonlyMap<string, string>;
}

interface Sharing {
  /** Another tunnel there. */
  readonly other: string;
  /** The one that is in the kernel, or is to be, by its manifest; then no other can be there at all. */
  readonly kernels: string | null;
}

/** Who is programmed at an endpoint wins over who would be. */
export function sharedEndpoints(
  tunnels: readonly Located[],
  programmed: ReturnType<typeof placed>,
): SharedEndpoints {
  const overUdp = tunnels.filter(({ tunnel }) => tunnel.encapsulation === "UDP");
  const at = ({ tunnel: { local } }: Located) => `${local.address} ${local.port}`;
  const sharing = new Map<string, Sharing>();
  for (const group of Map.groupBy(overUdp, at).values()) {
    // Of sockets that are handed over each has its own remote.
    const areHeld = group.every(
      ({ object, tunnel }) => object.spec.datapath === "Kernel" && tunnel.control !== undefined,
    );
    if (group.length === 1 || areHeld) continue;
    const names = group.map(({ tunnel }) => tunnel.name).sort();
    const pinned = group.filter(({ object }) => object.spec.datapath === "Kernel");
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
 * `Auto` is the kernel where that can.
 * @returns the datapath, and why it is not the kernel where that was open
 * @throws RefusalError where what the manifest asks for cannot be had
 */
export function chooseDatapath(
  { object: { spec }, tunnel }: Located,
  { shared, held }: TunnelNeighbors,
  { preferred, kernel }: DatapathContext,
): { readonly datapath: Datapath; readonly notInKernel: string | null } {
  const asked = spec.datapath ?? "Auto";
  const owner = shared.get(tunnel.name)?.kernels ?? null;
  if (owner !== null && owner !== tunnel.name) {
    const message = `spec.local.port ${tunnel.local.port}: L2tpTunnel ${owner} has it in the kernel, which shares no port; choose another, or set that tunnel's spec.datapath to Auto`;
    throw new RefusalError("Accepted", "Conflict", message);
  }
  if (asked === "Userspace") return { datapath: "Userspace", notInKernel: null };
  if (asked === "Auto" && preferred === "Userspace") {
    return { datapath: "Userspace", notInKernel: "the agent runs with --datapath userspace" };
  }
  const isOpen = asked === "Auto" && preferred === null;
  const ofSession = isOpen ? held.get(tunnel.name) : undefined;
  const reason = ofSession ?? whyNotKernel(tunnel, shared, kernel, isOpen);
  if (reason === null) return { datapath: "Kernel", notInKernel: null };
  if (isOpen) return { datapath: "Userspace", notInKernel: reason };
  const wish =
    asked === "Kernel" ? "spec.datapath Kernel" : "the agent runs with --datapath kernel";
  const message = `${wish}: ${reason}; mend that, or set spec.datapath: Userspace`;
  throw new RefusalError("Programmed", "NoKernelDatapath", message);
}

function whyNotKernel(
  tunnel: Tunnel,
  shared: SharedEndpoints,
  kernel: KernelSupport,
  isOpen: boolean,
): string | null {
  const { name, encapsulation, local, control } = tunnel;
  for (const { noun } of featuresOf(tunnel)) {
    return `${noun}, which it asks for, is the userspace datapath's`;
  }
  if (control !== undefined) {
    // In the kernel each new agreement takes a new device.
    if (isOpen)
      return "a tunnel with a control connection is in the kernel only where spec.datapath asks for it";
    if (encapsulation === "IP") return "over IP its control connection is the userspace datapath's";
    if (control.backups.length > 0) return "backups are the userspace datapath's";
  }
  const family = local.address.includes(":") ? "IPv6" : "IPv4";
  const lack = encapsulation === "UDP" ? kernel.UDP : kernel[family];
  if (lack !== null) return lack;
  const sharing = shared.get(name);
  if (sharing === undefined || sharing.kernels === name) return null;
  return `L2tpTunnel ${sharing.other} has the same local address and port, and in the kernel each tunnel needs its own`;
}
