import { c } from "./ffi.ts";

/** Scheduling policies that require no privilege (sched(7)). */
export const Policy = {
  /** A waking thread may preempt the running one. */
  Other: 0,
  /** A waking thread waits for the running one's time slice: fewer, larger batches of work. */
  Batch: 3,
} as const;
export type Policy = (typeof Policy)[keyof typeof Policy];

/** struct sched_param: no priority. */
const parameters = new Uint8Array(4);

/** Sets the policy of the calling thread, if the kernel permits it. Errors are ignored. */
export function setPolicy(policy: Policy): void {
  c.sched_setscheduler(0, policy, parameters);
}
