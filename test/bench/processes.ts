/** Memory and processor time of processes. */
import { readdirSync, readFileSync } from "node:fs";

/** The page size of x86-64 and arm64. */
const PAGE_BYTES = 4096;

/** The sum of the processes' resident memory, in mebibytes. */
export function residentMebibytes(pids: readonly number[]): number {
  const pages = pids.map((pid) => Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]));
  return (pages.reduce((sum, count) => sum + count, 0) * PAGE_BYTES) / 2 ** 20;
}

/**
 * Memory of all processes together, in mebibytes: the anonymous memory of each, and each file's pages
 * once (the largest resident part of any of the processes). Unlike the kernel's proportional figure
 * (Pss), this does not depend on other processes that use the same files.
 */
export function uniqueMebibytes(pids: readonly number[]): number {
  let anonymous = 0;
  const files = new Map<string, number>();
  for (const pid of pids) {
    const own = new Map<string, number>();
    for (const mapping of mappingsOf(pid)) {
      anonymous += mapping.anonymous;
      const rest = mapping.resident - mapping.anonymous;
      own.set(mapping.file, (own.get(mapping.file) ?? 0) + rest);
    }
    for (const [file, size] of own) files.set(file, Math.max(files.get(file) ?? 0, size));
  }
  const shared = [...files.values()].reduce((sum, size) => sum + size, 0);
  return (anonymous + shared) / 1024;
}

/** /proc/PID/smaps (proc_pid_smaps(5)), in kibibytes. */
function mappingsOf(pid: number) {
  const text = readFileSync(`/proc/${pid}/smaps`, "utf8");
  const parts = text.split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  return parts.map((part) => ({
    file: part.slice(0, part.indexOf("\n")).split(/\s+/)[5] ?? "",
    resident: Number(/^Rss: +(\d+)/m.exec(part)?.[1] ?? 0),
    anonymous: Number(/^Anonymous: +(\d+)/m.exec(part)?.[1] ?? 0),
  }));
}

/** Measures the processes' share of a processor over the next `seconds`. */
export async function processorShare(pids: readonly number[], seconds: number): Promise<number> {
  const before = processorSeconds(pids);
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  return (processorSeconds(pids) - before) / seconds;
}

/** Processor time of the processes so far, with all threads, in seconds. */
export function processorSeconds(pids: readonly number[]): number {
  const nanoseconds = pids.flatMap((pid) =>
    readdirSync(`/proc/${pid}/task`).map((task) =>
      Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0]),
    ),
  );
  return nanoseconds.reduce((sum, time) => sum + time, 0) / 1e9;
}
