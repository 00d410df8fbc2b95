/** Builds dist/l2tp by Bun, from the npm package for this architecture. */
import { execFileSync } from "node:child_process";
import { renameSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
const arch = process.arch === "arm64" ? "aarch64" : process.arch;
const bun = `${root}node_modules/@oven/bun-linux-${arch}/bin/bun`;
const flags = [
  "--compile",
  "--minify",
  "--bytecode",
  "--format=esm",
  // A runtime calls the plugin in any folder: the plugin must not read files there.
  "--no-compile-autoload-dotenv",
  "--no-compile-autoload-bunfig",
];
execFileSync(bun, ["build", ...flags, "cni/main.ts", "--outfile", "dist/l2tp.new"], {
  cwd: root,
  stdio: ["ignore", "ignore", "inherit"],
});
renameSync(`${root}dist/l2tp.new`, `${root}dist/l2tp`);
console.log("Built dist/l2tp");
