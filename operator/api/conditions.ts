/** Conditions of an object's status, as Kubernetes has them (metav1.Condition). */
import type { Condition } from "./types.ts";

/**
 * Dates a condition: its transition time changes only with its status.
 * @param known the object's conditions before
 * @param generation of the spec that it is about; undefined: unknown
 */
export function datedCondition(
  condition: Omit<Condition, "lastTransitionTime" | "observedGeneration">,
  known: readonly Condition[],
  generation: number | undefined,
  now: Date,
): Condition {
  const before = known.find(({ type }) => type === condition.type);
  const isSame = before?.status === condition.status;
  return {
    ...condition,
    ...(generation === undefined ? {} : { observedGeneration: generation }),
    lastTransitionTime: isSame ? before.lastTransitionTime : now.toISOString(),
  };
}
