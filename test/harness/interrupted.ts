/** Cleanup for programs with test hosts and pods that are interrupted. */
import { spawnSync } from "node:child_process";
import { constants } from "node:os";
import { namespacesOf } from "./net.ts";

/** Makes SIGINT and SIGTERM delete the namespaces of this process, and kill all processes in them. */
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

/** The words of ip(8)'s output. */
function ip(...args: string[]): string[] {
  const { stdout } = spawnSync("ip", args, { encoding: "utf8" });
  return (stdout ?? "").split(/\s+/).filter((word) => word !== "");
}

function tryKill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // The process has exited by itself.
  }
}
