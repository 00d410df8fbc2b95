/** Faults in objects that users write. */

/** A field at fault, and its remedy. */
export interface FieldProblem {
  /** "spec.remote.address". */
  readonly path: string;
  /** The field's value; undefined: missing, an object or a secret. */
  readonly value: unknown;
  readonly reason: string;
  readonly remedy: string;
}

/** Returns `path: value: reason; remedy`. */
export function describeProblem(problem: FieldProblem): string {
  return `${describeFault(problem)}; ${problem.remedy}`;
}

/** Returns `path: value: reason`, without the remedy. */
export function describeFault({ path, value, reason }: FieldProblem): string {
  const shown = value === undefined ? "" : `: ${JSON.stringify(value)}`;
  return `${path}${shown}: ${reason}`;
}
