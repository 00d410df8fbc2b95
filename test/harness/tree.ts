/** A copy of the source tree, to which tests add files: it shows which other files an addition changes. */
import { execFileSync } from "node:child_process";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

export class SourceTree {
  readonly path: string;

  constructor() {
    this.path = mkdtempSync(join(tmpdir(), "l2tp-cni-tree-"));
    const listed = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    const files = execFileSync("git", listed, { cwd: ROOT, encoding: "utf8" }).split("\0");
    for (const file of files.filter((name) => name !== "")) {
      cpSync(join(ROOT, file), join(this.path, file), { recursive: true });
    }
    for (const made of ["node_modules", "dist"])
      symlinkSync(join(ROOT, made), join(this.path, made));
  }

  /** Adds a file. */
  add(file: string, text: string): void {
    mkdirSync(dirname(join(this.path, file)), { recursive: true });
    writeFileSync(join(this.path, file), text, { flag: "wx" });
  }

  /** Replaces a text that must occur in the file once, such as the end of a registry. */
  replace(file: string, from: string, to: string): void {
    const path = join(this.path, file);
    const parts = readFileSync(path, "utf8").split(from);
    if (parts.length !== 2)
      throw new Error(`${file} has ${JSON.stringify(from)} ${parts.length - 1} times`);
    writeFileSync(path, parts.join(to));
  }

  /** @returns the program's standard output @throws Error with all of its output */
  run(program: string, ...args: readonly string[]): string {
    try {
      return execFileSync(program, args, { cwd: this.path, encoding: "utf8", stdio: "pipe" });
    } catch (error) {
      const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
      throw new Error(`${program} ${args.join(" ")}\n${stdout}${stderr}`);
    }
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
