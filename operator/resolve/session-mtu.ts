/**
 * The MTU of a session: spec.mtu, or the path MTU minus overhead. A device drops received frames above its MTU, and the
 * peer does not know when the path narrows. So the MTU does not change with the path while pods are attached, and
 * larger datagrams are fragmented (docs/adr/0036-path-mtu.md). Pure.
 */
import type { GivenMtu } from "../../model/attachments/attachment.ts";
import { IPV6_MIN_MTU } from "../../net/headers.ts";
import { MAX_MTU, MIN_MTU } from "../api/validate.ts";

/** The MTU of a session's attached pods. */
export interface HeldMtu {
  /** null: an earlier version attached them and did not store it. */
  readonly given: GivenMtu | null;
  /** The MTU in bytes that the agent set last; null: the interface is being created. */
  readonly deviceMtu: number | null;
}

interface SettledMtu {
  /** The MTU of the session's device, in bytes. */
  readonly mtu: number;
  /** The path MTU that it is computed from, in bytes. */
  readonly pathMtu: number;
}

/**
 * Returns the MTU of the session's device.
 * @param spec spec.mtu; undefined: omitted
 * @param pathMtu the MTU of the path now, in bytes
 * @param fits returns the MTU that a path MTU leaves to the session
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
  // Below 1280 the kernel removes IPv6 and its addresses from an interface.
  const hasIpv6 = (held?.deviceMtu ?? 0) >= IPV6_MIN_MTU;
  const least = hasIpv6 ? IPV6_MIN_MTU : MIN_MTU;
  return { mtu: Math.min(MAX_MTU, Math.max(least, fits(path))), pathMtu: path };
}

/** Returns the path MTU that the pods' MTU was computed from; undefined: use the present one. */
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
