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

/** Programs that hang are ended then; those of a busy machine are not. */
const PATIENCE_MS = 300_000;

/** Runs a program to its end, whatever its status. */
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
      // It did not even start, or somebody killed it.
      else resolve({ stdout, stderr: `${stderr}${error?.message}`, status: 1 });
    });
    child.stdin?.on("error", () => {});
    child.stdin?.end(input ?? "");
  });
}

/** Runs a program; its standard output. @throws where its status is not 0 */
export async function run(command: readonly string[], options?: RunOptions): Promise<string> {
  const { stdout, stderr, status } = await tryRun(command, options);
  if (status === 0) return stdout;
  throw new Error(`${command.join(" ")}: status ${status}\n${stderr}${stdout}`);
}

/** Programs that run until they are stopped. */
export class Background {
  readonly #children = new Set<ChildProcess>();

  /** What it writes to stdout and stderr goes to `output`. */
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

/** Ends a process and waits until it has. */
export function stop(child: ChildProcess, signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    child.once("exit", () => resolve());
    child.kill(signal);
  });
}
