/** Runs an IPAM plugin (CNI specification, section 4). */
import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import { spawn } from "bun";
import type { Command, Invocation } from "./config.ts";
import { CniCode, CniError } from "./errors.ts";

const TIMEOUT_MS = 60_000;
const MAX_OUTPUT_BYTES = 1024 * 1024;

/** A plugin process that has been started, and waits for its configuration. It loads while the agent works. */
export interface Delegate {
  /** @returns the plugin's stdout @throws CniError, the plugin's own if it printed one */
  run(): Promise<string>;
  /** Stops the plugin before it does anything. */
  cancel(): void;
}

/** @throws CniError if the plugin cannot be started */
export function startDelegate(type: string, command: Command, invocation: Invocation): Delegate {
  const program = find(type, invocation.path);
  let child: ReturnType<typeof start>;
  try {
    child = start(program, command, invocation);
  } catch (error) {
    throw failure(type, command, (error as Error).message);
  }
  return {
    async run() {
      child.stdin.write(invocation.stdin);
      child.stdin.end();
      const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
      if ((await child.exited) === 0) return stdout;
      const why = stderr.trim() || `${child.signalCode ?? `status ${child.exitCode}`}`;
      throw readError(type, command, stdout, why);
    },
    cancel: () => child.kill("SIGKILL"),
  };
}

/** Starts a plugin and runs it. */
export async function delegate(
  type: string,
  command: Command,
  invocation: Invocation,
): Promise<string> {
  return startDelegate(type, command, invocation).run();
}

/** Uses Bun's spawn: loading node:child_process takes longer than running an IPAM plugin. */
function start(program: string, command: Command, { environment }: Invocation) {
  return spawn([program], {
    env: { ...environment, CNI_COMMAND: command },
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
    timeout: TIMEOUT_MS,
    maxBuffer: MAX_OUTPUT_BYTES,
  });
}

function find(type: string, path: readonly string[]): string {
  for (const folder of path) {
    const program = join(folder, type);
    try {
      accessSync(program, constants.X_OK);
      return program;
    } catch {
      // Try the next folder.
    }
  }
  const message =
    path.length === 0
      ? `CNI_PATH: missing, and IPAM plugin ${type} is needed; set it, such as /opt/cni/bin:/usr/lib/cni`
      : `IPAM plugin ${type} is not in CNI_PATH ${path.join(":")}; install it there`;
  throw new CniError(CniCode.InvalidConfig, message);
}

function failure(type: string, command: Command, why: string): CniError {
  return new CniError(CniCode.IoFailure, `IPAM plugin ${type}, ${command}: ${why}`);
}

function readError(type: string, command: Command, stdout: string, why: string): CniError {
  try {
    const { code, msg, details } = JSON.parse(stdout) as {
      code?: number;
      msg?: string;
      details?: string;
    };
    if (typeof code === "number" && typeof msg === "string") {
      return new CniError(code, `IPAM plugin ${type}, ${command}: ${msg}`, details ?? "");
    }
  } catch {
    // stdout is not an error as the specification defines it.
  }
  return failure(type, command, why);
}
