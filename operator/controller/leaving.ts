/** When an object that is being deleted may go. Pure. */
import { FINALIZER, NODE_LABEL, REMOVED } from "../api/placement.ts";
import { conditionOf, type L2tpObject } from "../api/types.ts";

/** How the node is that has the object. */
export interface NodeState {
  /** There is a Node of the name. */
  readonly exists: boolean;
  /** For how long the node has not been ready, in milliseconds; 0: it is. */
  readonly notReadyMs: number;
  /** Since the object was seen to be leaving. */
  readonly leavingMs: number;
}

export type Leave =
  /** Nothing of ours holds it. */
  | { readonly do: "nothing" }
  | { readonly do: "release"; readonly abandoned: string | null }
  | { readonly do: "wait"; readonly milliseconds: number | null };

/**
 * @param node the one that has the object
 * @param patienceMs how long a node is waited for that is not ready, or that has never said anything
 */
export function decideLeaving(object: L2tpObject, node: NodeState, patienceMs: number): Leave {
  const { finalizers, labels } = object.metadata;
  if (!finalizers?.includes(FINALIZER)) return { do: "nothing" };
  const wasGivenToNode = labels?.[NODE_LABEL] !== undefined;
  if (!wasGivenToNode || isTakenDown(object)) return { do: "release", abandoned: null };
  if (!node.exists) return { do: "release", abandoned: "its node is not in the cluster any more" };
  if (node.notReadyMs === 0 && hasBeenReported(object)) return { do: "wait", milliseconds: null };
  if (node.notReadyMs === 0) {
    const left = patienceMs - node.leavingMs;
    if (left > 0) return { do: "wait", milliseconds: left };
    return { do: "release", abandoned: "no agent has ever said anything about it" };
  }
  const left = patienceMs - node.notReadyMs;
  if (left > 0) return { do: "wait", milliseconds: left };
  const minutes = Math.round(node.notReadyMs / 60_000);
  const abandoned = `its node has not been ready for ${minutes} minutes; should it come back, its agent takes it down then`;
  return { do: "release", abandoned };
}

function hasBeenReported(object: L2tpObject): boolean {
  return conditionOf(object, "Programmed") !== undefined;
}

/** Deleting counts as a generation of its own. */
function isTakenDown(object: L2tpObject): boolean {
  const programmed = conditionOf(object, "Programmed");
  return (
    programmed?.reason === REMOVED && programmed.observedGeneration === object.metadata.generation
  );
}
