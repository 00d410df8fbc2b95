/** The fast path in Debian's kernels: by BPF programs since Linux 6.6, by the process before. */
import { release } from "node:os";
import { afterAll, beforeAll, expect, it } from "vitest";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { ping, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { streamTcp } from "../harness/streams.ts";
import { until } from "../harness/wait.ts";

const [major = 0, minor = 0] = release().split(".").map(Number);
const hasTcx = major > 6 || (major === 6 && minor >= 6);

let net: TestNet;
const agents: TestAgent[] = [];
const pods: string[] = [];

beforeAll(async () => {
  net = await TestNet.create();
  for (const [index, [local, remote]] of (
    [
      [net.a, net.b],
      [net.b, net.a],
    ] as const
  ).entries()) {
    const agent = new TestAgent(local);
    agents.push(agent);
    agent.write("all.yaml", [
      tunnelObject("t", local, remote, { udpChecksum: false, fastPath: true }),
      sessionObject("lan", "t"),
    ]);
    await agent.start();
    const netns = await net.addPod(`p${index}`);
    pods.push(netns);
    const config = {
      ...{ cniVersion: "1.0.0", name: "fast", type: "l2tp", session: "shop/lan" },
      ...{ socket: agent.socket, runtimeConfig: { ips: [`10.1.0.${index + 1}/24`] } },
    };
    const answer = await cni(local, { command: "ADD", netns, config });
    expect(answer.status, answer.stdout).toBe(0);
  }
  await until("frames cross", () => ping(pods[0] ?? "", "10.1.0.2"));
});

afterAll(async () => {
  for (const agent of agents) await agent.destroy();
  await net.remove();
});

it(`${hasTcx ? "forwards frames" : "is unavailable, and the process forwards frames"} of every size`, async () => {
  const [one, two] = pods.map((netns, index) => ({ netns, address: `10.1.0.${index + 1}` }));
  if (one === undefined || two === undefined) throw new Error("no pods");
  const { sent, received } = await streamTcp(one, two, 2_000_000);
  expect(received).toEqual(sent);
  for (const agent of agents) {
    if (hasTcx) {
      await until(
        "the session is on the fast path",
        async () => (await agent.session("shop/lan"))?.fastPath,
      );
      expect(agent.log).not.toContain("fast path unavailable");
    } else {
      await agent.logs("fast path unavailable");
      expect((await agent.session("shop/lan"))?.fastPath).toBe(false);
    }
  }
});
