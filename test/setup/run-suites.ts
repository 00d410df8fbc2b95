/** Runs suites of vitest, names what cannot run here, and ends with one line of totals. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
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
const total = { passed: 0, failed: 0, skipped: 0 };
mkdirSync(`${root}out`, { recursive: true });

for (const suite of process.argv.slice(2)) {
  if (suite !== "unit" && !canRun) {
    console.log(`Skipped suite ${suite}: it needs root and /dev/net/tun`);
    total.skipped++;
    continue;
  }
  console.log(`\nSuite ${suite}`);
  const file = `${root}out/${suite}.json`;
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${file}`];
  const { status } = spawnSync("vitest", ["run", "--project", suite, ...reporters], {
    cwd: root,
    stdio: ["ignore", "inherit", "inherit"],
  });
  const report = JSON.parse(readFileSync(file, "utf8")) as Report;
  total.passed += report.numPassedTests;
  total.failed += report.numFailedTests;
  total.skipped += report.numPendingTests;
  // A file that fails outside of its tests counts none of them.
  const broken = report.testResults.filter(
    (result) => result.status === "failed" && result.assertionResults.length === 0,
  ).length;
  total.failed += broken;
  if (status !== 0 && report.numFailedTests + broken === 0) total.failed++;
}
console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exit(total.failed === 0 ? 0 : 1);
