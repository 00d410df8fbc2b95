/** Runs an IPAM plugin, as the specification's section 4 has it. */
import { accessSync, constants } from "node:fs";
import { join } from "node:path";
import type { Command, Invocation } from "./config.ts";
import { CniCode, CniError } from "./errors.ts";

const TIMEOUT_MS = 60_000;
const MAX_OUTPUT_BYTES = 1024 * 1024;

/** What the plugin printed. @throws CniError, its own where it printed one */
export async function delegate(
  type: string,
  command: Command,
  invocation: Invocation,
): Promise<string> {
  const program = find(type, invocation.path);
  // Loaded only here: most calls have no IPAM, and the start is most of their time.
  const { spawn } = await import("node:child_process");
  return new Promise((resolve, reject) => {
    const child = spawn(program, [], {
      env: { ...invocation.environment, CNI_COMMAND: command } as Record<string, string>,
      stdio: ["pipe", "pipe", "pipe"],
      timeout: TIMEOUT_MS,
    });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk: Buffer) => {
      if (stdout.length < MAX_OUTPUT_BYTES) stdout += chunk.toString("utf8");
    });
    child.stderr.on("data", (chunk: Buffer) => {
      if (stderr.length < MAX_OUTPUT_BYTES) stderr += chunk.toString("utf8");
    });
    child.on("error", (error) => reject(failure(type, command, error.message)));
    child.on("close", (code, signal) => {
      if (code === 0) resolve(stdout);
      else
        reject(readError(type, command, stdout, stderr.trim() || `${signal ?? `status ${code}`}`));
    });
    // It may end without reading.
    child.stdin.on("error", () => {});
    child.stdin.end(invocation.stdin);
  });
}

function find(type: string, path: readonly string[]): string {
  for (const folder of path) {
    const program = join(folder, type);
    try {
      accessSync(program, constants.X_OK);
      return program;
    } catch {
      // The next one.
    }
  }
  const message = `IPAM plugin ${type} is not in CNI_PATH ${path.join(":")}; install it there`;
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
    // Not an error of the specification's form.
  }
  return failure(type, command, why);
}
