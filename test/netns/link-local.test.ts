/** Tunnels between link-local addresses: the local interface selects the link. */
import { afterEach, describe, expect, it } from "vitest";
import type { TunnelSpec } from "../../operator/api/types.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { type Host, inside, link, ping, TestNet } from "../harness/net.ts";
import { managedSession, managedTunnel, sessionObject, tunnelObject } from "../harness/objects.ts";
import { tryRun } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

let net: TestNet;
let agents: TestAgent[] = [];

afterEach(async (context) => {
  if (context.task.result?.state === "fail") for (const { log } of agents) console.log(log);
  for (const agent of agents) await agent.destroy();
  agents = [];
  await net.remove();
});

/** The link-local address of the host's underlay device. */
function linkLocalOf(host: Host): Promise<string> {
  return until("the wire has a link-local address", async () => {
    const found = await link(host.name, host.device);
    const address = found?.addr_info?.find(({ local }) => local.startsWith("fe80:"))?.local;
    // Sockets cannot bind to the address before duplicate address detection ends.
    const shown = await tryRun(inside(host.name, "ip", "-6", "addr", "show", "tentative"));
    return shown.stdout.includes(address ?? "fe80") ? undefined : address;
  });
}

/** Starts two agents with a pod each. @param objects returns the objects of one side, from its remote's address */
async function join(
  objects: (local: Host, remote: Host, address: string) => object[],
): Promise<readonly string[]> {
  net = await TestNet.create();
  const pods: string[] = [];
  for (const [index, [local, remote]] of [
    [net.a, net.b] as const,
    [net.b, net.a] as const,
  ].entries()) {
    const agent = new TestAgent(local);
    agents.push(agent);
    agent.write("all.yaml", objects(local, remote, await linkLocalOf(remote)));
    await linkLocalOf(local);
    await agent.start();
    const netns = await net.addPod(`pod${index}`);
    pods.push(netns);
    const config = {
      ...{ cniVersion: "1.0.0", name: "lan", type: "l2tp", session: "shop/lan" },
      ...{ socket: agent.socket, runtimeConfig: { ips: [`10.1.0.${index + 1}/24`] } },
    };
    const answer = await cni(local, { command: "ADD", netns, config });
    expect(answer.status, answer.stdout).toBe(0);
  }
  return pods;
}

describe("a link-local remote", () => {
  it.each<[string, Partial<TunnelSpec>]>([
    ["over UDP", {}],
    ["over IP", { encapsulation: "IP", udpChecksum: true, fastPath: false }],
    ["without the requested fast path", { udpChecksum: false, fastPath: true }],
  ])("is reached over the local interface, %s", async (_how, change) => {
    const [pod = ""] = await join((local, remote, address) => [
      tunnelObject("t", local, remote, {
        local: { interface: local.device },
        remote: { address },
        ...change,
      }),
      sessionObject("lan", "t"),
    ]);
    await until("frames cross", () => ping(pod, "10.1.0.2", { count: 5, size: 1000 }));
    const [agent] = agents;
    const [row] = (await agent?.ask({ op: "tunnels" })) ?? [];
    expect(row?.local).toMatch(/^\[?fe80:/);
    const programmed = agent?.condition("l2tptunnel", "t", "Programmed");
    expect(programmed?.status).toBe("True");
    if (!change.fastPath) return;
    expect(programmed?.message).toContain(
      "The tunnel does not use the fast path: its socket is bound to wire1",
    );
    expect((await agent?.session("shop/lan"))?.fastPath).toBe(false);
  });

  it("has a control connection", async () => {
    const [pod = ""] = await join((local, remote, address) => [
      managedTunnel(
        "t",
        local,
        remote,
        {},
        { local: { interface: local.device }, remote: { address } },
      ),
      managedSession("lan", "t"),
    ]);
    await until("frames cross", () => ping(pod, "10.1.0.2"));
  });
});
