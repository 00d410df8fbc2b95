/** Waits for conditions, never for time. */

const POLL_MS = 20;
/** Emulated machines take their time. */
const PATIENCE_MS = process.env.KERNEL_VM === undefined ? 20_000 : 60_000;

/**
 * The first value of `probe` that is neither undefined nor false. An error of the probe counts as not
 * yet, and is the reason given when the time is over.
 */
export async function until<T>(
  what: string,
  probe: () => T | Promise<T>,
  timeoutMs = PATIENCE_MS,
): Promise<NonNullable<T>> {
  const deadline = Date.now() + timeoutMs;
  let reason: unknown = "it stayed false";
  for (;;) {
    try {
      const value = await probe();
      if (value !== undefined && value !== null && value !== false) return value as NonNullable<T>;
    } catch (error) {
      reason = error;
    }
    if (Date.now() > deadline) throw new Error(`waited in vain: ${what}`, { cause: reason });
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
