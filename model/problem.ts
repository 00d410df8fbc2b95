/** What is wrong with what users write. */

/** A field of an object that cannot be, and what could. */
export interface FieldProblem {
  /** "spec.remote.address". */
  readonly path: string;
  /** What stands there; never a secret. */
  readonly value: unknown;
  readonly reason: string;
  readonly remedy: string;
}

export function describeProblem(problem: FieldProblem): string {
  return `${describeFault(problem)}; ${problem.remedy}`;
}

/** Without the remedy. */
export function describeFault({ path, value, reason }: FieldProblem): string {
  const shown = value === undefined ? "" : ` ${JSON.stringify(value)}`;
  return `${path}${shown}: ${reason}`;
}
