import { type ChildProcess, execFile, spawn } from "node:child_process";

export interface Output {
  readonly stdout: string;
  readonly stderr: string;
  readonly status: number;
}

export interface RunOptions {
  readonly input?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly timeoutMs?: number;
}

/** The time after which a hanging program is killed; long enough for a busy machine. */
const PATIENCE_MS = 300_000;

/** Runs a program until it exits with any status. */
export function tryRun(
  command: readonly string[],
  { input, env, timeoutMs = PATIENCE_MS }: RunOptions = {},
): Promise<Output> {
  const [program = "", ...args] = command;
  return new Promise((resolve) => {
    const options = {
      timeout: timeoutMs,
      maxBuffer: 64 * 1024 * 1024,
      ...(env === undefined ? {} : { env }),
    };
    const child = execFile(program, args, options, (error, stdout, stderr) => {
      const code = error === null ? 0 : (error as { code?: unknown }).code;
      if (typeof code === "number") resolve({ stdout, stderr, status: code });
      // The program did not start, or was killed.
      else resolve({ stdout, stderr: `${stderr}${error?.message}`, status: 1 });
    });
    child.stdin?.on("error", () => {});
    child.stdin?.end(input ?? "");
  });
}

/** Runs a program. @returns its standard output @throws Error if its status is not 0 */
export async function run(command: readonly string[], options?: RunOptions): Promise<string> {
  const { stdout, stderr, status } = await tryRun(command, options);
  if (status === 0) return stdout;
  throw new Error(`${command.join(" ")}: status ${status}\n${stderr}${stdout}`);
}

/** Programs that run until they are stopped. */
export class Background {
  readonly #children = new Set<ChildProcess>();

  /** @param output receives what the program writes to stdout and stderr */
  start(command: readonly string[], output: (text: string) => void = () => {}): ChildProcess {
    const [program = "", ...args] = command;
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
    child.stdout.on("data", (data: Buffer) => output(data.toString()));
    child.stderr.on("data", (data: Buffer) => output(data.toString()));
    child.on("error", (error) => output(String(error)));
    this.#children.add(child);
    child.once("exit", () => this.#children.delete(child));
    return child;
  }

  async stopAll(signal?: NodeJS.Signals): Promise<void> {
    await Promise.all([...this.#children].map((child) => stop(child, signal)));
  }
}

/** Kills a process, and waits until it exits. */
export function stop(child: ChildProcess, signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    child.once("exit", () => resolve());
    child.kill(signal);
  });
}
