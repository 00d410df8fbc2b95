/** Runs suites of vitest, names suites that cannot run, and ends with the failures and a line of totals. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { relative } from "node:path";
import { stripVTControlCharacters } from "node:util";
import { KERNELS, ROOT as root, runInVm, setUpVm } from "../harness/vm.ts";

interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly {
      readonly fullName: string;
      readonly status: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

/**
 * Files that run in one kernel only, since an emulated machine is slow: their results depend little on the kernel's
 * version. The kernels' shares take about equally long.
 */
const IN_ONE_KERNEL: Readonly<Record<string, readonly string[]>> = {
  bookworm: [
    ...["kernel/agent", "kernel/documentation", "kernel/managed", "kernel/path-mtu"],
    ...["kernel/pods-own", "kernel/switch", "kernel/vrf", "netns/packet-capture"],
  ],
  trixie: [
    ...["kernel/dscp", "kernel/interface", "kernel/ip-pseudowire", "kernel/mac-spoofing"],
    ...["kernel/trace", "kernel/transparency"],
    ...["kernel/underlays", "kernel/vlan", "netns/cni-ipam", "netns/doctor", "netns/routers"],
  ],
};

/** Files that run in the kernels by `make soak` only: they vary, for many minutes, what other files prove once. */
const IN_SOAK: readonly string[] = ["kernel/managed-ip", "netns/pod-interface", "netns/tenants"];

const canRun = process.geteuid?.() === 0 && existsSync("/dev/net/tun");
const total = { passed: 0, failed: 0, skipped: 0 };
/** One line for each failure. */
const failures: string[] = [];
mkdirSync(`${root}out`, { recursive: true });

for (const suite of process.argv.slice(2)) {
  if (suite !== "unit" && !canRun) skip(suite, "it needs root and /dev/net/tun");
  else if (suite === "cluster" && !process.env.KUBECONFIG && !existsSync("/sys/fs/cgroup/pids")) {
    skip(suite, "its Kubernetes needs cgroup v1");
  } else if (suite === "kernel") await runInVirtualMachines(leftOut);
  // All files, in all kernels: longer than CI may take.
  else if (suite === "kernel-whole") await runInVirtualMachines(() => []);
  else runHere(suite);
}
if (failures.length > 0) console.log(`\n${failures.join("\n")}`);
console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exit(total.failed === 0 ? 0 : 1);

function skip(suite: string, why: string): void {
  console.log(`Skipped suite ${suite}: ${why}`);
  total.skipped++;
}

/** @param report the path of the machine-readable report */
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

/** Runs the machines in parallel: each has one processor. */
async function runInVirtualMachines(
  without: (release: string) => readonly string[],
): Promise<void> {
  const ready = KERNELS.filter((release) => {
    const isReady = setUpVm(release);
    if (!isReady) skip(`kernel of ${release}`, "its virtual machine cannot be set up");
    return isReady;
  });
  if (ready.length === 0) return;
  console.log(
    `\nSuite kernel, in the emulated kernels of ${ready.join(" and ")}: this takes minutes`,
  );
  await Promise.all(ready.map((release) => runInVirtualMachine(release, without(release))));
}

/** Returns the files that do not run in this kernel. */
function leftOut(release: string): readonly string[] {
  const others = KERNELS.filter((other) => other !== release);
  return [...IN_SOAK, ...others.flatMap((other) => IN_ONE_KERNEL[other] ?? [])];
}

async function runInVirtualMachine(release: string, without: readonly string[]): Promise<void> {
  const report = `${root}out/kernel-${release}.json`;
  const left = without.flatMap((file) => ["--exclude", `test/${file}.test.ts`]);
  const { status, output } = await runInVm(release, [...vitest("kernel", report), ...left]);
  console.log(`\nSuite kernel, in the kernel of ${release}\n${output}`);
  count(report, status);
}

/** Counts also failures outside of tests: of a file, of the run, or of the virtual machine. */
function count(path: string, status: number | null): void {
  const before = failures.length;
  if (!existsSync(path)) return failed(path, `no report; exit status ${status}`);
  const report = JSON.parse(readFileSync(path, "utf8")) as Report;
  total.passed += report.numPassedTests;
  total.skipped += report.numPendingTests;
  for (const { name, status: outcome, message, assertionResults } of report.testResults) {
    const file = relative(root, name);
    for (const test of assertionResults.filter((each) => each.status === "failed")) {
      failed(file, `${test.fullName}: ${test.failureMessages[0]}`);
    }
    if (outcome === "failed" && assertionResults.length === 0) failed(file, message);
  }
  if (status !== 0 && failures.length === before) failed(path, `exit status ${status}`);
}

function failed(where: string, why: string): void {
  const [line = ""] = stripVTControlCharacters(why).trim().split("\n");
  failures.push(`failed: ${where}: ${line.slice(0, 300)}`);
  total.failed++;
}
