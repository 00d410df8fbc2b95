/** `make demo`: two nodes in network namespaces, a pseudowire between two pods, and nothing left behind. */

import { TestAgent } from "../harness/agent.ts";
import { type CniAnswer, cni } from "../harness/cni.ts";
import { cleanUpWhenInterrupted } from "../harness/interrupted.ts";
import { inside, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { Background, run, tryRun } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

if (process.geteuid?.() !== 0) {
  console.error("make demo needs root: it makes network namespaces and TAP devices.");
  process.exit(2);
}
const say = (text: string) => console.log(`\n▸ ${text}`);
const show = (text: string) => console.log(text.trimEnd().replaceAll(/^/gm, "    "));

cleanUpWhenInterrupted();
const net = await TestNet.create();
const agents = [new TestAgent(net.a), new TestAgent(net.b)] as const;
const servers = new Background();

function requireOk(what: string, answer: CniAnswer): CniAnswer {
  if (answer.status !== 0) throw new Error(`${what}: ${answer.stdout}${answer.stderr}`);
  return answer;
}

async function demo(): Promise<void> {
  const [a, b] = agents;
  say(`Two nodes, each a network namespace, joined by a wire: ${net.a.ipv4} and ${net.b.ipv4}`);
  for (const [mine, other] of [
    [a, net.b],
    [b, net.a],
  ] as const) {
    mine.write("branch.yaml", [
      tunnelObject("branch", mine.host, other),
      sessionObject("lan", "branch", {
        cookies: { receive: { value: "a1b2c3d4" }, transmit: { value: "a1b2c3d4" } },
      }),
    ]);
  }
  say("On each node an L2tpTunnel and an L2tpSession in a folder, and l2tp-agent on that folder");
  await Promise.all([a.start(), b.start()]);
  show(await run(["bin/l2tpctl", "--socket", a.socket, "sessions"]));

  say("A container runtime calls the CNI plugin for a pod on each node");
  const pods = [await net.addPod("pod-1"), await net.addPod("pod-2")] as const;
  for (const [index, agent] of agents.entries()) {
    const config = {
      cniVersion: "1.0.0",
      name: "branch",
      type: "l2tp",
      session: "lan",
      socket: agent.socket,
      runtimeConfig: { ips: [`10.1.0.${index + 1}/24`] },
    };
    const pod = `shop/web-${index}`;
    const call = {
      command: "ADD",
      netns: pods[index] ?? "",
      pod,
      containerId: `demo${index}`,
      config,
    };
    const { json } = requireOk("ADD", await cni(agent.host, call));
    show(`${pod}: ${json.interfaces[0].name} ${json.interfaces[0].mac} ${json.ips[0].address}`);
  }

  say("Ethernet frames cross the pseudowire");
  const ping = inside(pods[0], "ping", "-q", "-c", "200", "-i", "0.005", "10.1.0.2");
  show((await run(ping)).split("\n").slice(-3).join("\n"));
  servers.start(inside(pods[1], "iperf3", "-s"));
  const iperf = inside(pods[0], "iperf3", "-c", "10.1.0.2", "-t", "3", "-J");
  const report = await until("iperf3 answers", async () => {
    const { stdout, status } = await tryRun(iperf);
    return status === 0 ? stdout : undefined;
  });
  const { end } = JSON.parse(report) as { end: { sum_received: { bits_per_second: number } } };
  show(`TCP: ${(end.sum_received.bits_per_second / 1e9).toFixed(2)} Gbit/s`);
  show(await run(["bin/l2tpctl", "--socket", a.socket, "sessions"]));

  say("Anything wrong?");
  show((await tryRun(["bin/l2tpctl", "--socket", a.socket, "doctor", "--seconds", "1"])).stdout);
}

let status = 0;
try {
  await demo();
  say("That was all of it: manifests, agent, CNI, frames. Cleaning up; nothing stays behind.");
} catch (error) {
  console.error(`\nThe demo failed: ${error instanceof Error ? error.message : error}`);
  for (const { log } of agents) console.error(log);
  status = 1;
} finally {
  await servers.stopAll();
  for (const agent of agents) {
    await agent.kill("SIGTERM");
    await agent.teardown();
    await agent.destroy();
  }
  await net.remove();
}
process.exit(status);
