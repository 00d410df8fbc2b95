/** Errors on both sides of a socket, and how they cross it. */

/** An error as it crosses a socket. */
export interface WireError {
  /** A word for programs: errno's name, or one of the protocol's own. */
  readonly code: string;
  /** A sentence for people. */
  readonly message: string;
  /** What to do about it. */
  readonly remedy?: string;
}

export type Reply<T> = { readonly result: T } | { readonly error: WireError };

/** The other side answered, and what it answered is an error. */
export class RemoteError extends Error {
  readonly code: string;
  readonly remedy: string | undefined;

  constructor({ code, message, remedy }: WireError) {
    super(message);
    this.name = "RemoteError";
    this.code = code;
    this.remedy = remedy;
  }
}

/** The other side is not there, went away, or does not answer in time. `code` is errno's name. */
export class ConnectionError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.name = "ConnectionError";
    this.code = code;
  }
}

/** Any error as it may cross a socket. */
export function toWireError(error: unknown): WireError {
  if (!(error instanceof Error)) return { code: "Internal", message: String(error) };
  const { code, remedy } = error as { code?: unknown; remedy?: unknown };
  return {
    code: typeof code === "string" ? code : "Internal",
    message: error.message,
    ...(typeof remedy === "string" ? { remedy } : {}),
  };
}
