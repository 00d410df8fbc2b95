/** Waits for conditions, never for time. */

const POLL_MS = 20;
/** A busy machine takes ten times as long as an idle one, and an emulated one longer still. */
const PATIENCE_MS = process.env.KERNEL_VM === undefined ? 60_000 : 120_000;

/**
 * The first value of `probe` that is neither undefined nor false. An error of the probe counts as not
 * yet, and is the reason given when the time is over.
 * @param what is waited for; a function is called when the time is over, and can show what there is then
 */
export async function until<T>(
  what: string | (() => string),
  probe: () => T | Promise<T>,
  timeoutMs = PATIENCE_MS,
): Promise<NonNullable<T>> {
  // A clock that is set meanwhile changes nothing.
  const deadline = performance.now() + timeoutMs;
  let reason: unknown = "it stayed false";
  for (;;) {
    try {
      const value = await probe();
      if (value !== undefined && value !== null && value !== false) return value as NonNullable<T>;
    } catch (error) {
      reason = error;
    }
    if (performance.now() > deadline) {
      const told = typeof what === "string" ? what : what();
      throw new Error(`waited in vain: ${told}`, { cause: reason });
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
