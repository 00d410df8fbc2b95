/** The reason why an object is not programmed. */
export interface Refusal {
  /** Accepted if only a change of objects helps; Programmed otherwise. */
  readonly condition: "Accepted" | "Programmed";
  readonly reason: string;
  readonly message: string;
}

/** Thrown for an object that is refused. */
export class RefusalError extends Error {
  readonly refusal: Refusal;

  constructor(condition: Refusal["condition"], reason: string, message: string) {
    super(message);
    this.refusal = { condition, reason, message };
  }
}
