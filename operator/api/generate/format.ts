/** Formats generated TypeScript. */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../../", import.meta.url));

/** Returns the text in the project's format. @param name of the file, for the formatter */
export function formatted(text: string, name: string): string {
  const args = ["format", `--stdin-file-path=operator/api/${name}`];
  const options = { cwd: root, input: text, encoding: "utf8" } as const;
  return execFileSync(`${root}node_modules/.bin/biome`, args, options);
}
