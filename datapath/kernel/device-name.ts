/** The names with which the kernel's L2TP creates devices. The largest session ID fits into 15 bytes. */
import type { L2SpecificSublayer, Session } from "../../model/model.ts";
import {
  DEFAULT_PSEUDOWIRE,
  kernelPart,
  type PseudowireType,
  pseudowireOf,
} from "../../model/pseudowires/index.ts";

/**
 * The kernel always reports the name with which it created a session's device, but neither the session's L2-Specific
 * Sublayer nor which of the types with the same number it has. So the name encodes both, and marks the session as ours.
 */
const SUBLAYER: Readonly<Record<L2SpecificSublayer, string>> = { Default: "p", None: "n" };

/** The parts of a session that its device's name encodes. */
export interface NamedSession extends Pick<Session, "sessionId" | "l2SpecificSublayer"> {
  /** The pseudowire type's (`KernelPseudowire.letter`). */
  readonly letter: string;
}

const letterOf = (type: PseudowireType): string => kernelPart(type)?.letter ?? "";
const DEFAULT_LETTER = letterOf(DEFAULT_PSEUDOWIRE);

/** Returns the name with which a session's device is created. */
export function kernelDeviceName(
  session: Pick<Session, "sessionId" | "l2SpecificSublayer" | "pseudowireType">,
): string {
  const letter = letterOf(pseudowireOf(session)) || DEFAULT_LETTER;
  return `l2${letter}${SUBLAYER[session.l2SpecificSublayer]}-${session.sessionId}`;
}

/** Returns the session that the name encodes; undefined: not one of our names. */
export function parseKernelDeviceName(name: string): NamedSession | undefined {
  const match = /^l2([a-z])([pn])-([1-9][0-9]{0,9})$/.exec(name);
  if (match === null) return undefined;
  const [, letter = "", sublayer, id] = match;
  return {
    sessionId: Number(id),
    l2SpecificSublayer: sublayer === SUBLAYER.None ? "None" : "Default",
    letter,
  };
}
