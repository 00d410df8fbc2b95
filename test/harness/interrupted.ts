/** Leaves nothing behind when somebody ends a program that has hosts and pods. */
import { spawnSync } from "node:child_process";
import { constants } from "node:os";
import { namespacesOf } from "./net.ts";

/** From now on a SIGINT or SIGTERM takes the namespaces of this process away, with all that runs in them. */
export function cleanUpWhenInterrupted(): void {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.once(signal, () => {
      console.error(`\n${signal}: cleaning up`);
      for (const name of namespacesOf(process.pid)) {
        for (const pid of ip("netns", "pids", name)) tryKill(Number(pid));
        ip("netns", "del", name);
      }
      process.exit(128 + constants.signals[signal]);
    });
  }
}

/** Words of its output. */
function ip(...args: string[]): string[] {
  const { stdout } = spawnSync("ip", args, { encoding: "utf8" });
  return (stdout ?? "").split(/\s+/).filter((word) => word !== "");
}

function tryKill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It went by itself.
  }
}
