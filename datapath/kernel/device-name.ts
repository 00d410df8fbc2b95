/** The names of devices that the kernel's L2TP makes. 15 bytes hold the largest id. */
import type { L2SpecificSublayer, Session } from "../../model/model.ts";

/**
 * The kernel never forgets the name under which it made a session's device, and tells nobody the
 * session's L2-specific sublayer: so the name says it, and that the session is ours besides.
 */
const PREFIX: Readonly<Record<L2SpecificSublayer, string>> = {
  Default: "l2tp-",
  None: "l2tn-",
};

export function kernelDeviceName({
  sessionId,
  l2SpecificSublayer,
}: Pick<Session, "sessionId" | "l2SpecificSublayer">): string {
  return `${PREFIX[l2SpecificSublayer]}${sessionId}`;
}

/** Whose device the kernel made under that name, if it is one of ours. */
export function parseKernelDeviceName(
  name: string,
): Pick<Session, "sessionId" | "l2SpecificSublayer"> | undefined {
  const match = /^(l2tp-|l2tn-)([1-9][0-9]{0,9})$/.exec(name);
  if (match === null) return undefined;
  return {
    sessionId: Number(match[2]),
    l2SpecificSublayer: match[1] === PREFIX.None ? "None" : "Default",
  };
}
