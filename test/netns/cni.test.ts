import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { link, ping, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";

let net: TestNet;
let agent: TestAgent;
let peer: TestAgent;

beforeAll(async () => {
  net = await TestNet.create();
  agent = new TestAgent(net.a);
  peer = new TestAgent(net.b);
  for (const [mine, other] of [
    [agent, net.b],
    [peer, net.a],
  ] as const) {
    mine.write("branch.yaml", [
      tunnelObject("branch", mine.host, other),
      sessionObject("lan", "branch"),
    ]);
  }
  await Promise.all([agent.start(), peer.start()]);
});

afterAll(async () => {
  await agent?.destroy();
  await peer?.destroy();
  await net?.remove();
});

const config = (mine: TestAgent, more: object = {}) => ({
  cniVersion: "1.0.0",
  name: "branch",
  type: "l2tp",
  session: "lan",
  namespace: "shop",
  socket: mine.socket,
  ...more,
});

describe("as a main plugin", () => {
  it("attaches pods at both ends, and frames cross", async () => {
    const podA = await net.addPod("pa");
    const podB = await net.addPod("pb");
    const ips = (address: string) => ({ runtimeConfig: { ips: [address] } });
    const a = await cni(net.a, {
      command: "ADD",
      netns: podA,
      config: config(agent, ips("10.1.0.1/24")),
    });
    expect(a.json).toMatchObject({
      cniVersion: "1.0.0",
      ips: [{ address: "10.1.0.1/24", interface: 0 }],
    });
    const b = await cni(net.b, {
      command: "ADD",
      netns: podB,
      config: config(peer, ips("10.1.0.2/24")),
    });
    expect(b.status).toBe(0);
    expect(await ping(podA, "10.1.0.2", { count: 5 })).toBe(true);
    const device = await link(podA, "net1");
    expect(device?.address).toBe(a.json.interfaces[0].mac);
    const del = await cni(net.a, { command: "DEL", netns: podA, config: config(agent) });
    expect(del).toMatchObject({ status: 0, stdout: "" });
    expect(await link(podA, "net1")).toBeUndefined();
    expect((await link(net.a.name, "l2tp-128"))?.flags).not.toContain("UP");
  });
});
