/** A trace cannot start. */
export class TraceRefused extends Error {
  readonly code: "UnknownObject" | "TooManyTraces";
  readonly remedy: string;

  constructor(code: TraceRefused["code"], message: string, remedy: string) {
    super(message);
    this.name = "TraceRefused";
    this.code = code;
    this.remedy = remedy;
  }
}
