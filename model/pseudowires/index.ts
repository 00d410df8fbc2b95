/** Pseudowire types. The compiler checks them against the enum of spec.pseudowireType. */
import { ethernet } from "./ethernet.ts";
import { ethernetVlan } from "./ethernet-vlan.ts";
import { ip } from "./ip.ts";
import type {
  KernelPseudowire,
  PseudowireFields,
  PseudowireSettings,
  PseudowireType,
  TagRules,
} from "./pseudowire.ts";

export type {
  FrameRewriter,
  PseudowireCounters,
  PseudowireDevice,
  PseudowireFields,
  PseudowireSettings,
  PseudowireType,
  TagRule,
  TagRules,
} from "./pseudowire.ts";
export { createPseudowireCounters } from "./pseudowire.ts";

const REGISTERED = [ethernet, ethernetVlan, ip] as const satisfies readonly PseudowireType[];

export type PseudowireName = (typeof REGISTERED)[number]["name"];

export const PSEUDOWIRE_TYPES: readonly PseudowireType[] = REGISTERED;

const DEFAULT_NAME = ethernet.name;
/** The type of a session without pseudowireType. */
export const DEFAULT_PSEUDOWIRE: PseudowireType = ethernet;

export class UnknownPseudowireError extends Error {
  readonly code = "UnknownPseudowireType";
}

type TypeName = Pick<PseudowireSettings, "pseudowireType">;

/** Returns the session's type; undefined: a type of a newer version. */
export function findPseudowire({ pseudowireType }: TypeName): PseudowireType | undefined {
  const named = pseudowireType ?? DEFAULT_NAME;
  return PSEUDOWIRE_TYPES.find(({ name }) => name === named);
}

/** Returns the session's type. @throws UnknownPseudowireError for a type of a newer version */
export function pseudowireOf(session: TypeName): PseudowireType {
  const found = findPseudowire(session);
  if (found !== undefined) return found;
  const known = PSEUDOWIRE_TYPES.map((type) => type.name).join(", ");
  const { pseudowireType: name } = session;
  throw new UnknownPseudowireError(`unknown pseudowire type ${name}; known types: ${known}`);
}

/** Returns the type of a known name. */
export function pseudowireNamed(name: PseudowireName = DEFAULT_NAME): PseudowireType {
  return pseudowireOf({ pseudowireType: name });
}

/** Returns the session's field for the type: none for the default type. */
export function pseudowireField(name: PseudowireName = DEFAULT_NAME): {
  readonly pseudowireType?: PseudowireName;
} {
  return name === DEFAULT_NAME ? {} : { pseudowireType: name };
}

/** True if the session's device has a MAC address, or there is no device. @throws UnknownPseudowireError */
export function hasMac(session: TypeName): boolean {
  return pseudowireOf(session).device?.hasMac !== false;
}

/** Returns the pseudowire settings of a manifest, without the MTU. */
export function pseudowireSettings(
  fields: PseudowireFields & { readonly pseudowireType?: PseudowireName },
): Omit<PseudowireSettings, "mtu" | "pseudowireType"> & {
  readonly pseudowireType?: PseudowireName;
} {
  const { pseudowireType } = fields;
  return {
    ...pseudowireNamed(pseudowireType).settings?.(fields),
    ...pseudowireField(pseudowireType),
  };
}

/** Returns the type and its settings in short: "EthernetVLAN 100". */
export function describePseudowire(settings: PseudowireSettings): string {
  const { pseudowireType: name = DEFAULT_NAME } = settings;
  const details = findPseudowire(settings)?.describe?.(settings) ?? "";
  return details === "" ? name : `${name} ${details}`;
}

/** Returns the type's properties in the kernel; null: the kernel does not support it. */
export function kernelPart({ kernel }: PseudowireType): KernelPseudowire | null {
  return "number" in kernel ? kernel : null;
}

/** Returns the kernel's number of the type; null: the kernel does not support it. */
export function kernelNumber(type: PseudowireType): number | null {
  return kernelPart(type)?.number ?? null;
}

/** Returns the tc rules that rewrite the session's frames in the kernel; null: none. */
export function tagRulesOf(session: PseudowireSettings): TagRules | null {
  return kernelPart(pseudowireOf(session))?.tagRules?.(session) ?? null;
}

/** Returns why the kernel cannot carry the type; null: it can. */
export function whyNotInKernel({ kernel }: PseudowireType): string | null {
  return "whyNot" in kernel ? kernel.whyNot : null;
}

/**
 * Returns the type of a session in the kernel; undefined: not a session of l2tp-cni.
 * @param letter the type's letter in the device name
 */
export function kernelPseudowire(number: number, letter: string): PseudowireName | undefined {
  return REGISTERED.find((type) => {
    const part = kernelPart(type);
    return part?.number === number && part.letter === letter;
  })?.name;
}

/**
 * Returns the numbers that a control connection advertises (PW Capabilities, RFC 3931, 5.4.3).
 * @param carries true if the tunnel's datapath can carry the type
 */
export function pseudowireCapabilities(
  carries: (type: PseudowireType) => boolean,
): readonly number[] {
  return PSEUDOWIRE_TYPES.filter(carries).map(({ number }) => number);
}
