/** What processes take of the machine. */
import { readdirSync, readFileSync } from "node:fs";

/** Of all our machines. */
const PAGE_BYTES = 4096;

/** Mebibytes of memory, of all of them together. */
export function residentMebibytes(pids: readonly number[]): number {
  const pages = pids.map((pid) => Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]));
  return (pages.reduce((sum, count) => sum + count, 0) * PAGE_BYTES) / 2 ** 20;
}

/** The part of a processor that they take in the seconds to come. */
export async function processorShare(pids: readonly number[], seconds: number): Promise<number> {
  const before = processorSeconds(pids);
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  return (processorSeconds(pids) - before) / seconds;
}

/** Seconds of a processor that they have had, with all their threads. */
export function processorSeconds(pids: readonly number[]): number {
  const nanoseconds = pids.flatMap((pid) =>
    readdirSync(`/proc/${pid}/task`).map((task) =>
      Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]),
    ),
  );
  return nanoseconds.reduce((sum, time) => sum + time, 0) / 1e9;
}
