/** Decides when the finalizer of a deleted object is removed. Pure. */
import { FINALIZER, NODE_LABEL, REMOVED } from "../api/placement.ts";
import { conditionOf, type L2tpObject } from "../api/types.ts";

/** State of the object's node. */
export interface NodeState {
  /** True if the Node exists in the cluster. */
  readonly exists: boolean;
  /** Time since the node has not been ready; 0: the node is ready. */
  readonly notReadyMs: number;
  /** Time since the controller first saw the object in deletion. */
  readonly leavingMs: number;
}

export type Leave =
  /** The object does not have the controller's finalizer. */
  | { readonly do: "nothing" }
  /** Remove the finalizer. `abandoned`: why the node did not confirm; null: it did. */
  | { readonly do: "release"; readonly abandoned: string | null }
  /** Decide again after this time; null: after the next change. */
  | { readonly do: "wait"; readonly milliseconds: number | null };

/**
 * Decides about an object that is being deleted.
 * @param node the node that has the object
 * @param timeoutMs maximum wait for a node that is not ready, or that has never reported a status
 */
export function decideLeaving(object: L2tpObject, node: NodeState, timeoutMs: number): Leave {
  const { finalizers, labels } = object.metadata;
  if (!finalizers?.includes(FINALIZER)) return { do: "nothing" };
  const wasAssigned = labels?.[NODE_LABEL] !== undefined;
  if (!wasAssigned || isRemoved(object)) return { do: "release", abandoned: null };
  if (!node.exists) return { do: "release", abandoned: "the node is no longer in the cluster" };
  if (node.notReadyMs === 0 && hasBeenReported(object)) return { do: "wait", milliseconds: null };
  if (node.notReadyMs === 0) {
    const left = timeoutMs - node.leavingMs;
    if (left > 0) return { do: "wait", milliseconds: left };
    return { do: "release", abandoned: "no agent has reported a status for it" };
  }
  const left = timeoutMs - node.notReadyMs;
  if (left > 0) return { do: "wait", milliseconds: left };
  const minutes = Math.round(node.notReadyMs / 60_000);
  const abandoned = `the node has not been ready for ${minutes} minutes; when it returns, its agent removes the tunnel or session`;
  return { do: "release", abandoned };
}

function hasBeenReported(object: L2tpObject): boolean {
  return conditionOf(object, "Programmed") !== undefined;
}

/** True if the node has removed the object. The deletion increments the object's generation. */
function isRemoved(object: L2tpObject): boolean {
  const programmed = conditionOf(object, "Programmed");
  return (
    programmed?.reason === REMOVED && programmed.observedGeneration === object.metadata.generation
  );
}
