/** The README's tutorial, word by word. Only the image of its pods is another: the cluster has no registry. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Cluster, isForeign, PROGRAM, RELEASE, ROOT } from "../harness/cluster.ts";
import { run } from "../harness/run.ts";

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
  // It begins with an installation.
  await cluster.helm("uninstall", RELEASE, "--namespace", RELEASE);
});

afterAll(async () => {
  if (isForeign) return;
  rmSync(tools, { recursive: true });
  await cluster.install("--set", "agent.secretsRefresh=2");
  cluster.close();
});

/** What stands in the chapter's blocks of shell, in one script. */
function script(chapter: string): string {
  const text = readFileSync(`${ROOT}README.md`, "utf8");
  const [, body = ""] = text.split(`\n## ${chapter}\n`);
  const [until = ""] = body.split("\n## ");
  const blocks = [...until.matchAll(/^ {3}```sh\n([\s\S]*?)^ {3}```$/gm)];
  return blocks.map(([, block = ""]) => block.replaceAll(/^ {3}/gm, "")).join("\n");
}

it.skipIf(isForeign)("works as it is written", async () => {
  const commands = script("On Kubernetes").replace("busybox:1.36", "localhost/busybox:1");
  expect(commands).toContain("helm install");
  const output = await run(["sh", "-euc", `cd ${ROOT}\n${commands}`], {
    env: { ...process.env, PATH: `${tools}:${process.env.PATH}` },
    timeoutMs: 280_000,
  });
  expect(output).toContain("3 packets transmitted, 3 packets received");
  expect(output).toMatch(/release "l2tp-cni" uninstalled\n$/);
});
