/** The pseudowire types that a session can have. The compiler holds them to the enum of spec.pseudowireType. */
import { ethernet } from "./ethernet.ts";
import { ip } from "./ip.ts";
import type { PseudowireSettings, PseudowireType } from "./pseudowire.ts";

export type {
  FrameRewriter,
  PseudowireDevice,
  PseudowireSettings,
  PseudowireType,
} from "./pseudowire.ts";

const REGISTERED = [ethernet, ip] as const satisfies readonly PseudowireType[];

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

/** The number that the kernel's L2TP has for the type; null: it has none. */
export function kernelNumber({ kernel }: PseudowireType): number | null {
  return "number" in kernel ? kernel.number : null;
}

/** Why the kernel's L2TP cannot carry the type; null: it can. */
export function whyNotInKernel({ kernel }: PseudowireType): string | null {
  return "whyNot" in kernel ? kernel.whyNot : null;
}

/** The name of the type that the kernel's L2TP knows by the number; undefined: a session of it is not ours. */
export function kernelPseudowire(number: number): PseudowireName | undefined {
  return REGISTERED.find((type) => kernelNumber(type) === number)?.name;
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
