/** Features of tunnels that only some datapaths have. Objects, sockets and listings use the same names. */
import type { PseudowireType } from "./pseudowires/index.ts";

export interface Features {
  /** BPF programs in the kernel forward frames that need no processing in userspace (datapath/userspace/fastpath/). */
  readonly fastPath?: boolean;
}

export interface Feature {
  readonly name: keyof Features;
  /** The name in messages. */
  readonly noun: string;
  /** The doctor's finding for a session that is configured for the feature, but does not use it. */
  readonly missing: string;
  readonly remedy: string;
  /** Returns why a tunnel cannot have the feature on any node; null: it can. */
  whyNot(tunnel: { readonly device?: { readonly name: string } }): string | null;
  /** Returns why sessions of the type never use the feature, as a clause, and the remedy; null: they can. */
  whyNotType(type: PseudowireType): { readonly why: string; readonly remedy: string } | null;
}

export const FEATURES: readonly Feature[] = [
  {
    name: "fastPath",
    noun: "the fast path",
    missing: "its frames do not use the fast path",
    remedy:
      "the fast path requires Linux 6.6, an Ethernet device towards the remote, no sequence numbers, spec.pseudowireType Ethernet, and attachment.macSpoofing Allow (or mode Bridge); recreate pods that attached before it was enabled",
    // A BPF program at a link cannot see the VRF of a datagram.
    whyNot: ({ device }) =>
      device === undefined
        ? null
        : `its socket is bound to ${device.name}, and the fast path does not support VRFs`,
    whyNotType({ name, hasFastPath }) {
      if (hasFastPath) return null;
      const why = `the fast path carries Ethernet frames only, and the session is of type ${name}`;
      return { why, remedy: "move the session to a tunnel without spec.fastPath" };
    },
  },
];

/** Returns all features, each true if enabled. */
export function pickFeatures(from: Features): Required<Features> {
  const on = FEATURES.map(({ name }) => [name, from[name] ?? false]);
  return Object.fromEntries(on) as Required<Features>;
}

/** Returns the enabled features. */
export function featuresOf(from: Features): readonly Feature[] {
  return FEATURES.filter(({ name }) => from[name] === true);
}
