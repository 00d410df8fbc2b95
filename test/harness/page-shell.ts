/** Shells that run the blocks of a page in order, as a reader types them. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import type { Block } from "./pages.ts";

/** The time after which a block has failed. */
const PATIENCE_MS = 280_000;

/** One shell: variables and functions of a block remain for the next block. */
export class PageShell {
  readonly #child: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #folder = mkdtempSync(join(tmpdir(), "page-"));
  #output = "";
  #count = 0;
  #hasEnded = false;
  #woken: () => void = () => {};

  /** @param prefix a command that enters the host, in front of the shell's command line */
  constructor(prefix: readonly string[], options: { cwd: string; env?: NodeJS.ProcessEnv }) {
    const [program = "", ...args] = [...prefix, "sh", "-eu"];
    this.#child = spawn(program, args, { ...options, stdio: ["pipe", "pipe", "pipe"] });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream.on("data", (data: Buffer) => {
        this.#output += data.toString();
        this.#woken();
      });
    }
    this.#child.stdin.on("error", () => {});
    this.#child.once("close", () => {
      this.#hasEnded = true;
      this.#woken();
    });
  }

  /** @returns the block's output @throws Error with page and line if a command fails */
  async run({ page, line, text }: Block): Promise<string> {
    const number = this.#count++;
    const path = join(this.#folder, `${number}.sh`);
    const done = `done-${number}-${process.pid}`;
    writeFileSync(path, text);
    this.#output = "";
    // The block's commands must not read the shell's own input.
    this.#child.stdin.write(`. ${path} </dev/null\necho ${done}\n`);
    const isOver = () => this.#hasEnded || this.#output.includes(`${done}\n`);
    const ended = await this.#wait(isOver);
    const output = this.#output.replace(`${done}\n`, "");
    if (ended && !this.#hasEnded) return output;
    const why = ended ? "failed" : "did not end";
    throw new Error(`${page}:${line}: the block ${why}\n${text}\n${output}`);
  }

  close(): void {
    this.#child.stdin.end();
    this.#child.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** @returns false after PATIENCE_MS */
  #wait(isOver: () => boolean): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), PATIENCE_MS);
      this.#woken = () => {
        if (!isOver()) return;
        clearTimeout(timer);
        resolve(true);
      };
      this.#woken();
    });
  }
}
