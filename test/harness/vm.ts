/** Runs commands in the virtual machine of test/vm, whose kernel has L2TP. */
import { spawn, spawnSync } from "node:child_process";
import { cpSync, mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** Debian releases whose kernels are tested: Linux 6.1 and 6.12. */
export const KERNELS = ["bookworm", "trixie"] as const;

const PROGRAM = fileURLToPath(new URL("../vm/kernel-vm", import.meta.url));
/** All files of the suite take an hour. */
const TIMEOUT_S = 5400;
const MEMORY_MB = 2048;

/** Folder of other projects' programs, shared with all machines (Debian's package go-l2tp). */
export const PEERS = fileURLToPath(new URL("../../out/peers/", import.meta.url));
/** The release that contains these programs. */
const PEERS_FROM = "trixie";

/** Downloads a kernel, unless it is cached. @returns false if the download fails */
export function setUpVm(release: string): boolean {
  const { status } = spawnSync(PROGRAM, ["setup"], {
    env: { ...process.env, KERNEL_VM_SUITE: release },
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (status !== 0) return false;
  if (release === PEERS_FROM) copyPeers();
  return true;
}

/** Copies the programs from the cache, which the machine may not share. */
function copyPeers(): void {
  const env = { ...process.env, KERNEL_VM_SUITE: PEERS_FROM };
  const folder = spawnSync(PROGRAM, ["peers"], { env, encoding: "utf8" }).stdout.trim();
  cpSync(`${folder}/usr/sbin/`, PEERS, { recursive: true });
}

/**
 * Runs a command. Its changes to out/ are kept, its other changes are lost. The status is 97 if the kernel logs a
 * warning.
 * @param heard is called with the output as it arrives
 */
export function runInVm(
  release: string,
  command: readonly string[],
  heard: (text: string) => void = () => {},
): Promise<{ readonly status: number | null; readonly output: string }> {
  const cache = `${ROOT}out/compile-cache`;
  mkdirSync(cache, { recursive: true });
  const options = [
    ...["--share", `${ROOT}out`, "--env", `NODE_COMPILE_CACHE=${cache}`, "--cwd", ROOT],
    // The machine has its own /tmp and /run: the source tree must be shared explicitly.
    ...(/^\/(tmp|run)\//.test(ROOT) ? ["--cow", ROOT] : []),
    ...["--mem", String(MEMORY_MB), "--timeout", String(TIMEOUT_S)],
  ];
  return new Promise((resolve) => {
    const child = spawn(PROGRAM, ["run", ...options, "--", ...command], {
      cwd: ROOT,
      env: { ...process.env, KERNEL_VM_SUITE: release },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    const take = (data: Buffer) => {
      output += data.toString();
      heard(data.toString());
    };
    child.stdout.on("data", take);
    child.stderr.on("data", take);
    child.once("error", (error) => resolve({ status: null, output: `${output}${error}` }));
    child.once("close", (status) => resolve({ status, output }));
  });
}
