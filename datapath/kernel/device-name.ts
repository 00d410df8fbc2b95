/** The names of devices that the kernel's L2TP makes. 15 bytes hold the largest id. */
import type { L2SpecificSublayer, Session } from "../../model/model.ts";
import {
  DEFAULT_PSEUDOWIRE,
  kernelPart,
  type PseudowireType,
  pseudowireOf,
} from "../../model/pseudowires/index.ts";

/**
 * The kernel never forgets the name under which it made a session's device, and tells nobody the session's
 * L2-specific sublayer, nor which of the types with one number it is: so the name says both, and that the session is
 * ours besides.
 */
const SUBLAYER: Readonly<Record<L2SpecificSublayer, string>> = { Default: "p", None: "n" };

/** A session as far as the name of its device tells it. */
export interface NamedSession extends Pick<Session, "sessionId" | "l2SpecificSublayer"> {
  /** The pseudowire type's (`KernelPseudowire.letter`). */
  readonly letter: string;
}

const letterOf = (type: PseudowireType): string => kernelPart(type)?.letter ?? "";
const DEFAULT_LETTER = letterOf(DEFAULT_PSEUDOWIRE);

export function kernelDeviceName(
  session: Pick<Session, "sessionId" | "l2SpecificSublayer" | "pseudowireType">,
): string {
  const letter = letterOf(pseudowireOf(session)) || DEFAULT_LETTER;
  return `l2${letter}${SUBLAYER[session.l2SpecificSublayer]}-${session.sessionId}`;
}

/** Whose device the kernel made under that name, if it is one of ours. */
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
