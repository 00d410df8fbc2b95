/** The list of all datapaths. To add a datapath, add a folder beside the others and an entry here. */
import type { DatapathTraits, DeviceKind } from "../../model/datapath.ts";
import type { Datapath } from "../datapath.ts";
import type { KernelL2tp } from "../kernel/shared.ts";
import { KERNEL } from "../kernel/traits.ts";
import { MANAGED_KERNEL } from "../managed-kernel/traits.ts";
import type { DatapathClient } from "../userspace/client.ts";
import { USERSPACE } from "../userspace/traits.ts";

/** The parts of a node that all datapaths share. */
export interface Shared {
  readonly process: DatapathClient;
  readonly kernel: KernelL2tp;
}

export interface Registered {
  readonly traits: DatapathTraits;
  /** Loads the datapath's code, which works only on a node. The traits do not need it. */
  open(shared: Shared): Promise<Datapath>;
}

/** Datapaths in the order in which `Auto` tries them. The last one supports every tunnel. */
export const DATAPATHS: readonly Registered[] = [
  {
    traits: KERNEL,
    open: async ({ kernel }) => {
      const { KernelRuntime } = await import("../kernel/runtime.ts");
      return new KernelRuntime(kernel);
    },
  },
  {
    traits: MANAGED_KERNEL,
    open: async ({ process, kernel }) => {
      const { ManagedKernelDatapath } = await import("../managed-kernel/runtime.ts");
      const { ProcessView } = await import("../userspace/process-view.ts");
      return new ManagedKernelDatapath(new ProcessView(process, "control"), kernel);
    },
  },
  {
    traits: USERSPACE,
    open: async ({ process }) => {
      const { UserspaceDatapath } = await import("../userspace/runtime.ts");
      const { ProcessView } = await import("../userspace/process-view.ts");
      return new UserspaceDatapath(new ProcessView(process));
    },
  },
];

const BY_NAME = new Map(DATAPATHS.map(({ traits }) => [traits.name, traits]));
const DEVICES = new Map(DATAPATHS.map(({ traits: { device } }) => [device.name, device]));

/** @throws RangeError */
export function traitsOf(datapath: string): DatapathTraits {
  const traits = BY_NAME.get(datapath);
  if (traits === undefined) throw new RangeError(`no datapath ${datapath}`);
  return traits;
}

/** The kinds of pseudowire devices, by name. */
export const deviceKinds: ReadonlyMap<string, DeviceKind> = DEVICES;

/** Returns the kind of pseudowire device with the name; undefined: not a pseudowire device. */
export function deviceKind(name: string | null | undefined): DeviceKind | undefined {
  return DEVICES.get(name ?? "");
}

/** Returns the kind of pseudowire device that can have this rtnetlink link kind. */
export function deviceKindOfLink(linkKind: string): DeviceKind | undefined {
  return [...DEVICES.values()].find(({ linkKinds }) => linkKinds.includes(linkKind));
}

/** The values of spec.datapath that request a datapath. */
export const apiNames: ReadonlySet<string> = new Set(DATAPATHS.map(({ traits }) => traits.apiName));

/** The datapath that supports every tunnel. */
export const FALLBACK: DatapathTraits = (DATAPATHS.at(-1) as Registered).traits;
