/** Runs commands of ours in the virtual machine of test/vm, whose kernel has L2TP. */
import { spawn, spawnSync } from "node:child_process";
import { cpSync, mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));
/** Debian's releases by whose kernels we test: Linux 6.1 and 6.12. */
export const KERNELS = ["bookworm", "trixie"] as const;

const PROGRAM = fileURLToPath(new URL("../vm/kernel-vm", import.meta.url));
const TIMEOUT_S = 2700;
const MEMORY_MB = 2048;

/** Programs of other projects, as all machines see them (Debian's package go-l2tp). */
export const PEERS = fileURLToPath(new URL("../../out/peers/", import.meta.url));
/** The release that has them. */
const PEERS_FROM = "trixie";

/** Downloads a kernel, unless it is there. False where that cannot be. */
export function setUpVm(release: string): boolean {
  const { status } = spawnSync(PROGRAM, ["setup"], {
    env: { ...process.env, KERNEL_VM_SUITE: release },
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (status !== 0) return false;
  if (release === PEERS_FROM) copyPeers();
  return true;
}

/** The cache may be where the machine does not look. */
function copyPeers(): void {
  const env = { ...process.env, KERNEL_VM_SUITE: PEERS_FROM };
  const folder = spawnSync(PROGRAM, ["peers"], { env, encoding: "utf8" }).stdout.trim();
  cpSync(`${folder}/usr/sbin/`, PEERS, { recursive: true });
}

/**
 * What the command writes to out/ is written here, and all else it writes is lost. A warning of the kernel
 * makes the status 97.
 * @param heard is given the output as it comes
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
    // Of the folders that the machine has its own of, it sees only what it is shown.
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
