/** Runs suites of vitest, names what cannot run here, and ends with one line of totals. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";

interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly testResults: readonly {
    readonly status: string;
    readonly assertionResults: readonly unknown[];
  }[];
}

const root = fileURLToPath(new URL("../../", import.meta.url));
const canRun = process.geteuid?.() === 0 && existsSync("/dev/net/tun");
const vm = `${root}test/vm/kernel-vm`;
/** Debian's releases whose kernels the suite "kernel" runs in: Linux 6.1 and 6.12. */
const KERNELS = ["bookworm", "trixie"];
const VM_TIMEOUT_S = 1500;
const VM_MEMORY_MB = 2048;

const total = { passed: 0, failed: 0, skipped: 0 };
mkdirSync(`${root}out/compile-cache`, { recursive: true });

for (const suite of process.argv.slice(2)) {
  if (suite !== "unit" && !canRun) skip(suite, "it needs root and /dev/net/tun");
  else if (suite === "kernel") await runInVirtualMachines();
  else runHere(suite);
}
console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exit(total.failed === 0 ? 0 : 1);

function skip(suite: string, why: string): void {
  console.log(`Skipped suite ${suite}: ${why}`);
  total.skipped++;
}

/** @param report where the machine-readable report goes */
function vitest(suite: string, report: string): string[] {
  rmSync(report, { force: true });
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${report}`];
  return ["vitest", "run", "--project", suite, ...reporters];
}

function runHere(suite: string): void {
  console.log(`\nSuite ${suite}`);
  const report = `${root}out/${suite}.json`;
  const [program = "", ...args] = vitest(suite, report);
  const { status } = spawnSync(program, args, {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
  });
  count(report, status);
}

/** Side by side: an emulated machine has one processor. */
async function runInVirtualMachines(): Promise<void> {
  const ready = KERNELS.filter((release) => {
    const { status } = spawnSync(vm, ["setup"], {
      env: { ...process.env, KERNEL_VM_SUITE: release },
      stdio: ["ignore", "inherit", "inherit"],
    });
    if (status !== 0) skip(`kernel of ${release}`, "its virtual machine cannot be set up here");
    return status === 0;
  });
  if (ready.length === 0) return;
  console.log(`\nSuite kernel, in the kernels of ${ready.join(" and ")}: some minutes, emulated`);
  await Promise.all(ready.map(runInVirtualMachine));
}

async function runInVirtualMachine(release: string): Promise<void> {
  const report = `${root}out/kernel-${release}.json`;
  const cache = `${root}out/compile-cache`;
  const options = [
    ...["--share", `${root}out`, "--env", `NODE_COMPILE_CACHE=${cache}`, "--cwd", root],
    // Below folders of which the machine has its own, it sees only what it is shown.
    ...(/^\/(tmp|run)\//.test(root) ? ["--cow", root] : []),
    ...["--mem", String(VM_MEMORY_MB), "--timeout", String(VM_TIMEOUT_S)],
  ];
  const { status, output } = await run([vm, "run", ...options, "--", ...vitest("kernel", report)], {
    KERNEL_VM_SUITE: release,
  });
  console.log(`\nSuite kernel, in the kernel of ${release}\n${output}`);
  count(report, status);
}

function run(
  [program = "", ...args]: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<{ status: number | null; output: string }> {
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      cwd: root,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    let output = "";
    const take = (data: Buffer) => {
      output += data.toString();
    };
    child.stdout.on("data", take);
    child.stderr.on("data", take);
    child.once("error", (error) => resolve({ status: null, output: `${output}${error}` }));
    child.once("close", (status) => resolve({ status, output }));
  });
}

/** A failure that no test has is one all the same: of a file, of the run, or of the virtual machine. */
function count(path: string, status: number | null): void {
  if (!existsSync(path)) {
    total.failed++;
    return;
  }
  const report = JSON.parse(readFileSync(path, "utf8")) as Report;
  total.passed += report.numPassedTests;
  total.skipped += report.numPendingTests;
  const broken = report.testResults.filter(
    (result) => result.status === "failed" && result.assertionResults.length === 0,
  ).length;
  const failed = report.numFailedTests + broken;
  total.failed += status !== 0 && failed === 0 ? 1 : failed;
}
