/** Compares plugin processes with those of the reference plugins. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TestAgent } from "../harness/agent.ts";
import { cniEnvironment, PLUGIN, REFERENCE_PLUGINS } from "../harness/cni.ts";
import type { TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import type { Report } from "./report.ts";

const RUNS = 60;
/** Warms up agent and page cache, as on a node in use. */
const WARM_UP_RUNS = 20;

export async function benchCni(net: TestNet, report: Report): Promise<void> {
  const agent = new TestAgent(net.a);
  const scratch = mkdtempSync(join(tmpdir(), "l2tp-bench-"));
  try {
    agent.write("all.yaml", [tunnelObject("t", net.a, net.b), sessionObject("lan", "t")]);
    await agent.start();
    const netns = await net.addPod("cni");
    const ipam = (name: string) => ({
      type: "host-local",
      dataDir: join(scratch, name),
      ranges: [[{ subnet: "10.5.0.0/16" }]],
    });
    const base = { cniVersion: "1.0.0", socket: agent.socket };
    const ours = { ...base, name: "o", type: "l2tp", session: "shop/lan", ipam: ipam("o") };
    const theirs = { ...base, name: "b", type: "bridge", bridge: "brbench", ipam: ipam("b") };
    const prevResult = { cniVersion: "1.0.0", interfaces: [{ name: "lo", sandbox: netns }] };
    const chained = { ...base, name: "c", type: "l2tp", prevResult };
    const tuning = { ...base, name: "t", type: "tuning", prevResult };
    const time = (program: string, command: string, config: object, ifname: string) => {
      const env = cniEnvironment({ command, config, netns, ifname });
      const started = process.hrtime.bigint();
      execFileSync("nsenter", [`--net=${net.a.netns}`, program], {
        input: JSON.stringify(config),
        env,
      });
      return Number(process.hrtime.bigint() - started) / 1e6;
    };
    const pair = (program: string, config: object) =>
      time(program, "ADD", config, "bench0") + time(program, "DEL", config, "bench0");
    const whole: [number[], number[]] = [[], []];
    const nothing: [number[], number[]] = [[], []];
    for (let i = 0; i < WARM_UP_RUNS; i++) {
      pair(PLUGIN, ours);
      pair(`${REFERENCE_PLUGINS}/bridge`, theirs);
    }
    for (let i = 0; i < RUNS; i++) {
      const measures = [
        () => whole[0].push(pair(PLUGIN, ours)),
        () => whole[1].push(pair(`${REFERENCE_PLUGINS}/bridge`, theirs)),
      ];
      for (const measure of i % 2 === 0 ? measures : measures.toReversed()) measure();
      nothing[0].push(time(PLUGIN, "ADD", chained, "lo"));
      nothing[1].push(time(`${REFERENCE_PLUGINS}/tuning`, "ADD", tuning, "lo"));
    }
    report.add("CNI ADD+DEL", "bridge + host-local", whole, { most: 1 }, "ms");
    report.add("CNI chained ADD for nothing", "tuning", nothing, { most: 4 }, "ms");
  } finally {
    await agent.destroy();
    rmSync(scratch, { recursive: true, force: true });
  }
}
