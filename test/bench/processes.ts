/** What processes take of the machine. */
import { readdirSync, readFileSync } from "node:fs";

/** Of all our machines. */
const PAGE_BYTES = 4096;

/** Mebibytes of memory, of all of them together. */
export function residentMebibytes(pids: readonly number[]): number {
  const pages = pids.map((pid) => Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]));
  return (pages.reduce((sum, count) => sum + count, 0) * PAGE_BYTES) / 2 ** 20;
}

/**
 * Mebibytes that all of them together take: the anonymous memory of each, and the pages of each file
 * once, as many as the process that uses most of them has. Other processes that use the same files
 * make no difference, unlike in the kernel's own proportional figure (Pss).
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
