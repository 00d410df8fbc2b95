/** Conditions of an object's status (metav1.Condition). */
import type { Condition } from "./types.ts";

/**
 * Returns the condition with its transition time, which changes only with the status.
 * @param known the object's previous conditions
 * @param generation of the spec that the condition describes; undefined: unknown
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
