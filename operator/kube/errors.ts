/** What the API server, or the way to it, has against a request. */

/** As metav1.Status, as far as anybody here reads it. */
export interface StatusBody {
  readonly reason?: string;
  readonly message?: string;
  readonly code?: number;
  readonly details?: { readonly retryAfterSeconds?: number };
}

export class KubeError extends Error {
  /** The HTTP status; 0: no answer came. */
  readonly status: number;
  /** metav1.StatusReason, "NotFound"; or errno's name where no answer came. */
  readonly reason: string;
  /** How long the server wants to be left alone; null where it does not say. */
  readonly retryAfterMs: number | null;

  /** The request, as the message begins: "GET /api/v1/nodes". */
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

  /** Somebody else has changed the object, or made one of the name. */
  get isConflict(): boolean {
    return this.status === 409;
  }

  /** The resource version is too old (410 Gone), for a list as for a watch. */
  get isExpired(): boolean {
    return this.status === 410;
  }

  /** The same request may succeed later. */
  get isTransient(): boolean {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** @param retryAfter the header of the name, in seconds */
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
