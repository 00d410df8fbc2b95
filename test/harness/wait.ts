/** Waits for conditions, never for time. */

const POLL_MS = 20;
/** A busy machine is ten times slower than an idle one, and an emulated one is slower still. */
const PATIENCE_MS = process.env.KERNEL_VM === undefined ? 60_000 : 120_000;

/**
 * Waits for the first value of `probe` that is neither undefined nor false. An error of the probe counts as
 * false, and becomes the cause of the timeout error.
 * @param what the awaited state; a function is called at the timeout, and can add the state at that time
 */
export async function until<T>(
  what: string | (() => string),
  probe: () => T | Promise<T>,
  timeoutMs = PATIENCE_MS,
): Promise<NonNullable<T>> {
  // The monotonic clock ignores changes of the time of day.
  const deadline = performance.now() + timeoutMs;
  let reason: unknown = "the condition remained false";
  for (;;) {
    try {
      const value = await probe();
      if (value !== undefined && value !== null && value !== false) return value as NonNullable<T>;
    } catch (error) {
      reason = error;
    }
    if (performance.now() > deadline) {
      const told = typeof what === "string" ? what : what();
      throw new Error(`timed out waiting: ${told}`, { cause: reason });
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
