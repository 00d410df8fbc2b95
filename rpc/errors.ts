/** Errors at both ends of a socket, and their form on the socket. */

/** An error in the form in which it is sent. */
export interface WireError {
  /** Errno name, or a code of the protocol. */
  readonly code: string;
  /** Says what is wrong. */
  readonly message: string;
  /** Says what to do. */
  readonly remedy?: string;
}

export type Reply<T> = { readonly result: T } | { readonly error: WireError };

/** The server answered with an error. */
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

/** The server does not run, closed the connection, or does not answer in time. `code` is an errno name. */
export class ConnectionError extends Error {
  readonly code: string;

  constructor(code: string, message: string) {
    super(message);
    this.name = "ConnectionError";
    this.code = code;
  }
}

/** Returns the error in the form in which it is sent. */
export function toWireError(error: unknown): WireError {
  if (!(error instanceof Error)) return { code: "Internal", message: String(error) };
  const { code, remedy } = error as { code?: unknown; remedy?: unknown };
  return {
    code: typeof code === "string" ? code : "Internal",
    message: error.message,
    ...(typeof remedy === "string" ? { remedy } : {}),
  };
}
