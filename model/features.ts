/** Features of tunnels that not each datapath has. Objects, sockets and listings call them by the same names. */
import type { PseudowireType } from "./pseudowires/index.ts";

export interface Features {
  /** BPF programs in the kernel forward the frames that need nothing else (datapath/userspace/fastpath/). */
  readonly fastPath?: boolean;
}

export interface Feature {
  readonly name: keyof Features;
  /** As messages call it. */
  readonly noun: string;
  /** The doctor's words for a session that should have it, and has not. */
  readonly missing: string;
  readonly remedy: string;
  /** Why a tunnel cannot have it, whatever the node is like; null: it can. */
  whyNot(tunnel: { readonly device?: { readonly name: string } }): string | null;
  /** Why sessions of the type never have it, to end a sentence, and what to do; null: they may have it. */
  whyNotType(type: PseudowireType): { readonly why: string; readonly remedy: string } | null;
}

export const FEATURES: readonly Feature[] = [
  {
    name: "fastPath",
    noun: "the fast path",
    missing: "its frames do not pass by the fast path",
    remedy:
      "it needs Linux 6.6, an Ethernet device towards the remote, no sequence numbers, spec.pseudowireType Ethernet, and attachment.macSpoofing Allow (or mode Bridge); a pod that came before has to come again",
    // A program at a link sees its datagrams, but not whose VRF they belong to.
    whyNot: ({ device }) =>
      device === undefined
        ? null
        : `its socket is bound to ${device.name}, and programs see no VRFs`,
    whyNotType({ name, hasFastPath }) {
      if (hasFastPath) return null;
      const why = `the fast path carries Ethernet frames, and the session is of type ${name}`;
      return { why, remedy: "put it into a tunnel without spec.fastPath" };
    },
  },
];

/** Each feature, and whether it is on. */
export function pickFeatures(from: Features): Required<Features> {
  const on = FEATURES.map(({ name }) => [name, from[name] ?? false]);
  return Object.fromEntries(on) as Required<Features>;
}

/** The features that are on. */
export function featuresOf(from: Features): readonly Feature[] {
  return FEATURES.filter(({ name }) => from[name] === true);
}
