/**
 * The MTU of a session: spec.mtu, or what its path leaves to it. A device drops received frames above its MTU, and the
 * peer does not know when the path narrows: so the MTU does not follow the path while pods are attached, and what is too
 * large for the path is fragmented (docs/adr/0036-path-mtu.md). Pure.
 */
import type { GivenMtu } from "../../model/attachments/attachment.ts";
import { IPV6_MIN_MTU } from "../../net/headers.ts";
import { MAX_MTU, MIN_MTU } from "../api/validate.ts";

/** The MTU that the pods of a session have. */
export interface HeldMtu {
  /** null: a version attached them that did not write it down. */
  readonly given: GivenMtu | null;
  /** Bytes, as the agent set it last; null: the interface is being made. */
  readonly deviceMtu: number | null;
}

interface SettledMtu {
  /** The MTU of the session's device, in bytes. */
  readonly mtu: number;
  /** The path's MTU that it follows from, in bytes. */
  readonly pathMtu: number;
}

/**
 * @param spec spec.mtu; undefined: left out
 * @param pathMtu bytes of the largest packet that the path carries unfragmented now
 * @param fits the MTU that a path leaves to the session
 * @param held undefined: no pod is attached
 */
export function settleMtu(
  spec: number | undefined,
  pathMtu: number,
  fits: (pathMtu: number) => number,
  held: HeldMtu | undefined,
): SettledMtu {
  const path = heldPath(spec ?? null, pathMtu, fits, held) ?? pathMtu;
  if (spec !== undefined) return { mtu: spec, pathMtu: path };
  // Below that the kernel takes IPv6 from an interface, with its addresses.
  const hasIpv6 = (held?.deviceMtu ?? 0) >= IPV6_MIN_MTU;
  const least = hasIpv6 ? IPV6_MIN_MTU : MIN_MTU;
  return { mtu: Math.min(MAX_MTU, Math.max(least, fits(path))), pathMtu: path };
}

/** The path by which the pods were given their MTU; undefined: it is the present one that counts. */
function heldPath(
  spec: number | null,
  pathMtu: number,
  fits: (pathMtu: number) => number,
  held: HeldMtu | undefined,
): number | undefined {
  if (held === undefined) return undefined;
  const { given, deviceMtu } = held;
  if (given !== null) return given.specMtu === spec ? (given.pathMtu ?? undefined) : undefined;
  return spec !== null || deviceMtu === null ? undefined : deviceMtu + pathMtu - fits(pathMtu);
}
