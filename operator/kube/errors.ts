/** Errors of requests to the API server. */

/** The used fields of metav1.Status. */
export interface StatusBody {
  readonly reason?: string;
  readonly message?: string;
  readonly code?: number;
  readonly details?: { readonly retryAfterSeconds?: number };
}

/** A failed request. The message begins with method and path. */
export class KubeError extends Error {
  /** The HTTP status; 0: no response. */
  readonly status: number;
  /** metav1.StatusReason, such as "NotFound", or an errno name if there is no response. */
  readonly reason: string;
  /** The server's Retry-After in milliseconds; null: it sent none. */
  readonly retryAfterMs: number | null;

  /** Returns the request from the message: "GET /api/v1/nodes". */
  get what(): string {
    return this.message.split(":")[0] ?? "";
  }

  constructor(status: number, reason: string, message: string, retryAfterMs: number | null = null) {
    super(message);
    this.name = "KubeError";
    this.status = status;
    this.reason = reason;
    this.retryAfterMs = retryAfterMs;
  }

  get isNotFound(): boolean {
    return this.status === 404;
  }

  /** True if another writer has changed the object, or created an object with this name. */
  get isConflict(): boolean {
    return this.status === 409;
  }

  /** True if the resource version of a list or watch is too old (410 Gone). */
  get isExpired(): boolean {
    return this.status === 410;
  }

  /** True if the same request may succeed later. */
  get isTransient(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** Creates the error for an HTTP status. @param retryAfter the header Retry-After, in seconds */
export function fromStatus(
  what: string,
  status: number,
  body: StatusBody,
  retryAfter: string | undefined,
): KubeError {
  const seconds = Number(retryAfter ?? body.details?.retryAfterSeconds ?? Number.NaN);
  const message = body.message ?? `HTTP status ${status}`;
  const wait = Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : null;
  return new KubeError(status, body.reason ?? "Unknown", `${what}: ${message}`, wait);
}
