/** Builds dist/l2tp by the Bun that the registry's package for this machine holds. */
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
  // A runtime calls it in any folder: what lies there is none of its business.
  "--no-compile-autoload-dotenv",
  "--no-compile-autoload-bunfig",
];
execFileSync(bun, ["build", ...flags, "cni/main.ts", "--outfile", "dist/l2tp.new"], {
  cwd: root,
  stdio: ["ignore", "ignore", "inherit"],
});
renameSync(`${root}dist/l2tp.new`, `${root}dist/l2tp`);
console.log("Built dist/l2tp");
