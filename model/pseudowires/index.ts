/** The pseudowire types that a session can have. The compiler holds them to the enum of spec.pseudowireType. */
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
/** The type of a session that names none. */
export const DEFAULT_PSEUDOWIRE: PseudowireType = ethernet;

export class UnknownPseudowireError extends Error {
  readonly code = "UnknownPseudowireType";
}

type TypeName = Pick<PseudowireSettings, "pseudowireType">;

/** Undefined for a session of a newer version's type. */
export function findPseudowire({ pseudowireType }: TypeName): PseudowireType | undefined {
  const named = pseudowireType ?? DEFAULT_NAME;
  return PSEUDOWIRE_TYPES.find(({ name }) => name === named);
}

/** @throws UnknownPseudowireError, for a session of a newer version's type */
export function pseudowireOf(session: TypeName): PseudowireType {
  const found = findPseudowire(session);
  if (found !== undefined) return found;
  const known = PSEUDOWIRE_TYPES.map((type) => type.name).join(", ");
  const { pseudowireType: name } = session;
  throw new UnknownPseudowireError(`unknown pseudowire type ${name}; known types: ${known}`);
}

/** A type that a session of this version can have. */
export function pseudowireNamed(name: PseudowireName = DEFAULT_NAME): PseudowireType {
  return pseudowireOf({ pseudowireType: name });
}

/** The field with which a session says its type: none for the default one. */
export function pseudowireField(name: PseudowireName = DEFAULT_NAME): {
  readonly pseudowireType?: PseudowireName;
} {
  return name === DEFAULT_NAME ? {} : { pseudowireType: name };
}

/** True if the session's device has a MAC address, or there is no device. @throws UnknownPseudowireError */
export function hasMac(session: TypeName): boolean {
  return pseudowireOf(session).device?.hasMac !== false;
}

/** The settings of a session of the type, by its manifest, but for the MTU. */
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

/** The type and its settings in a few words: "EthernetVLAN 100". */
export function describePseudowire(settings: PseudowireSettings): string {
  const { pseudowireType: name = DEFAULT_NAME } = settings;
  const type = PSEUDOWIRE_TYPES.find((each) => each.name === name);
  const details = type?.describe?.(settings) ?? "";
  return details === "" ? name : `${name} ${details}`;
}

/** How the kernel's L2TP has the type; null: not at all. */
export function kernelPart({ kernel }: PseudowireType): KernelPseudowire | null {
  return "number" in kernel ? kernel : null;
}

/** The number that the kernel's L2TP has for the type; null: it has none. */
export function kernelNumber(type: PseudowireType): number | null {
  return kernelPart(type)?.number ?? null;
}

/** The rules by which the kernel rewrites the frames of the session; null: it rewrites none. */
export function tagRulesOf(session: PseudowireSettings): TagRules | null {
  return kernelPart(pseudowireOf(session))?.tagRules?.(session) ?? null;
}

/** Why the kernel's L2TP cannot carry the type; null: it can. */
export function whyNotInKernel({ kernel }: PseudowireType): string | null {
  return "whyNot" in kernel ? kernel.whyNot : null;
}

/**
 * The type of a session in the kernel's L2TP; undefined: it is none of ours.
 * @param letter in the name of its device
 */
export function kernelPseudowire(number: number, letter: string): PseudowireName | undefined {
  return REGISTERED.find((type) => {
    const part = kernelPart(type);
    return part?.number === number && part.letter === letter;
  })?.name;
}

/**
 * The numbers that a control connection advertises (PW Capabilities, RFC 3931, 5.4.3).
 * @param carries whether the tunnel's datapath can carry the type
 */
export function pseudowireCapabilities(
  carries: (type: PseudowireType) => boolean,
): readonly number[] {
  return PSEUDOWIRE_TYPES.filter(carries).map(({ number }) => number);
}
