/** Which of a tunnel's remotes carries its frames. */

/** One of them, in the order of preference. */
export interface PathView {
  /** There is a control connection with it. */
  readonly isUp: boolean;
  /** Sessions through which frames would get to somebody. */
  readonly carrying: number;
}

/**
 * Whoever is there goes on; where he is gone, the one takes over that carries most, of several the first. A better
 * one gets it back when it carries as much as who stands in for it, so that nothing is cut twice.
 * @param active an index into `paths`
 * @returns the index of the one that is to be active
 */
export function choosePath(paths: readonly PathView[], active: number): number {
  const current = paths[active];
  if (current?.isUp) {
    const better = paths
      .slice(0, active)
      .findIndex(({ isUp, carrying }) => isUp && carrying >= current.carrying);
    return better === -1 ? active : better;
  }
  let best = -1;
  for (const [index, { isUp, carrying }] of paths.entries()) {
    if (isUp && carrying > (paths[best]?.carrying ?? -1)) best = index;
  }
  return best === -1 ? active : best;
}
