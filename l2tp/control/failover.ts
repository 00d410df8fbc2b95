/** Chooses the active remote of a tunnel. */
import { isCarrying } from "./circuit-status.ts";
import type { Peering } from "./peering.ts";

/** A remote, in order of preference. */
export interface PathView {
  /** True if its control connection is established. */
  readonly isUp: boolean;
  /** Time since its establishment, in milliseconds. */
  readonly upMs: number;
  /** Number of sessions with an active circuit at the peer. */
  readonly carrying: number;
  /** Number of sessions that are being negotiated. */
  readonly pending: number;
}

/** Returns the view of a peering. @param keys of the tunnel's sessions @param isActive true for the active remote */
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
    // If our end is on standby, the peer's end can be on standby, too.
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
 * The active path is kept. If it is down or has no active circuits, the path with the most active circuits takes over
 * (ties: first configured). Frames fail back to an earlier path once it has at least as many active circuits and has
 * been up for the hold time, so that a flapping path causes no failback.
 * @param active index of the active path in `paths`
 * @param holdMs minimum uptime of an earlier path, in milliseconds
 * @returns the index of the path to activate
 */
export function choosePath(paths: readonly PathView[], active: number, holdMs: number): number {
  const current = paths[active];
  if (current?.isUp) {
    // If both have just come up, a failback interrupts nothing.
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
