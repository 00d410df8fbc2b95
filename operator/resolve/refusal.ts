/** Why an object is not, or not yet, programmed. */
export interface Refusal {
  /** Accepted is False for what only a change of objects can mend, Programmed for the rest. */
  readonly condition: "Accepted" | "Programmed";
  readonly reason: string;
  readonly message: string;
}

/** An object that is refused. */
export class RefusalError extends Error {
  readonly refusal: Refusal;

  constructor(condition: Refusal["condition"], reason: string, message: string) {
    super(message);
    this.refusal = { condition, reason, message };
  }
}
