import { c } from "./ffi.ts";

/** Policies that need no privilege (sched(7)). */
export const Policy = {
  /** Who wakes may interrupt who runs. */
  Other: 0,
  /** Who wakes waits until who runs has had its time: fewer, larger batches of work. */
  Batch: 3,
} as const;
export type Policy = (typeof Policy)[keyof typeof Policy];

/** struct sched_param: no priority. */
const parameters = new Uint8Array(4);

/** Schedules the calling thread so, where the kernel lets it; it works either way. */
export function setPolicy(policy: Policy): void {
  c.sched_setscheduler(0, policy, parameters);
}
