/** Runs the README and pages about clusters unchanged, except for the pods' image, because there is no registry. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Cluster, isForeign, PROGRAM, RELEASE, ROOT } from "../harness/cluster.ts";
import { PageShell } from "../harness/page-shell.ts";
import { pagesOf, type RunPage, runnableBlocks } from "../harness/pages.ts";

const cluster = await Cluster.open();
let tools: string;

beforeAll(async () => {
  if (isForeign) return;
  tools = mkdtempSync(join(tmpdir(), "tools-"));
  for (const tool of ["kubectl", "helm"]) {
    const path = join(tools, tool);
    writeFileSync(path, `#!/bin/sh\nexec ${PROGRAM} ${tool} "$@"\n`);
    chmodSync(path, 0o755);
  }
  // The README begins with an installation.
  await cluster.helm("uninstall", RELEASE, "--namespace", RELEASE);
});

afterAll(async () => {
  if (isForeign) return;
  rmSync(tools, { recursive: true });
  await cluster.install("--set", "agent.secretsRefresh=2");
  cluster.close();
});

/** Returns the output of a page's blocks in one shell. */
async function outputOf(page: RunPage): Promise<string> {
  const env = { ...process.env, PATH: `${tools}:${process.env.PATH}` };
  const shell = new PageShell([], { cwd: ROOT, env });
  let output = "";
  try {
    for (const block of runnableBlocks(page)) output += await shell.run(block);
  } finally {
    shell.close();
  }
  return output;
}

/** The expected output of each page. */
const PROOFS: Readonly<Record<string, RegExp>> = {
  "README.md": /3 packets transmitted, 3 packets received[\s\S]*release "l2tp-cni" uninstalled\n/,
  "docs/install.md": /daemon set "l2tp-cni-agent" successfully rolled out/,
  "docs/pods.md": /: l2tp0: [\s\S]*pod "router" deleted/,
  "docs/conditions.md": /^/,
  "docs/operations.md": /tunnel/i,
  "docs/troubleshooting.md": /\d+ tunnels?, \d+ sessions?/,
  "docs/l2tpctl.md": /tunnel/i,
  "docs/upgrade.md": /Rollback was a success[\s\S]*"l2tpsessions\.l2tp\.dev" deleted/,
};

it.skipIf(isForeign).each(pagesOf("test/cluster/documentation.test.ts"))(
  "$page works as written",
  async (page) => {
    expect(await outputOf(page)).toMatch(PROOFS[page.page] ?? /never/);
  },
);
