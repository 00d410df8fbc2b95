/** Which of a tunnel's remotes carries its frames. */
import { isCarrying } from "./circuit-status.ts";
import type { Peering } from "./peering.ts";

/** One of them, in the order of preference. */
export interface PathView {
  /** There is a control connection with it. */
  readonly isUp: boolean;
  /** For how long, in milliseconds. */
  readonly upMs: number;
  /** Sessions through which frames would get to somebody. */
  readonly carrying: number;
  /** Sessions that the ends are about to agree on. */
  readonly pending: number;
}

/** @param keys of the tunnel's sessions @param isActive whether it is the one that carries now */
export function viewPath(
  peering: Peering,
  keys: readonly string[],
  isActive: boolean,
  now: number,
): PathView {
  const isUp = peering.established !== null;
  const carrying = keys.filter((key) => {
    const circuit = peering.agreementOf(key)?.peerCircuit;
    if (circuit === undefined) return false;
    // Of one that we hold on standby, the peer may do the same with us.
    return isActive ? isCarrying(circuit) : circuit.active;
  });
  const pending = keys.filter(
    (key) => peering.sessionOf(key) !== undefined && peering.agreementOf(key) === undefined,
  );
  return {
    isUp,
    upMs: isUp ? now - peering.upSince : 0,
    carrying: carrying.length,
    pending: pending.length,
  };
}

/**
 * Whoever carries goes on. Where he is gone, or carries nothing, the one takes over that carries most, of several the
 * first. A better one gets the frames back when it carries as much as who stands in for it, and has been there for a
 * while: one that comes and goes cuts nothing.
 * @param active an index into `paths`
 * @param holdMs for how long a better one must have been there
 * @returns the index of the one that is to be active
 */
export function choosePath(paths: readonly PathView[], active: number, holdMs: number): number {
  const current = paths[active];
  if (current?.isUp) {
    // Where both have only begun, nothing is cut.
    const isSteady = (path: PathView) => path.upMs >= holdMs || current.upMs < holdMs;
    const better = paths
      .slice(0, active)
      .findIndex((path) => path.isUp && path.carrying >= current.carrying && isSteady(path));
    if (better !== -1) return better;
    if (current.carrying + current.pending > 0) return active;
  }
  let best = current?.isUp ? active : -1;
  for (const [index, { isUp, carrying }] of paths.entries()) {
    if (isUp && carrying > (paths[best]?.carrying ?? -1)) best = index;
  }
  return best === -1 ? active : best;
}
