/** `make demo`: two nodes in network namespaces, and a pseudowire between two pods. */
import { TestAgent } from "../harness/agent.ts";
import { inside } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { tryRun } from "../harness/run.ts";
import { until } from "../harness/wait.ts";
import { attach, l2tpctl, perform, pings, say, show } from "./stage.ts";

await perform(async ({ net, agents, servers }) => {
  const [a, b] = [new TestAgent(net.a), new TestAgent(net.b)];
  agents.push(a, b);
  say(
    `Two nodes, each a network namespace, with a wire between them: ${net.a.ipv4} and ${net.b.ipv4}`,
  );
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
  say("Each node has a folder with an L2tpTunnel and an L2tpSession, and an agent that reads it");
  await Promise.all([a.start(), b.start()]);
  show(await l2tpctl(a, "sessions"));

  say("A container runtime calls the CNI plugin for a pod on each node");
  const pods = [await net.addPod("pod-1"), await net.addPod("pod-2")] as const;
  for (const [index, agent] of [a, b].entries()) {
    const ips = [`10.1.0.${index + 1}/24`];
    await attach(agent, pods[index] ?? "", `shop/web-${index}`, "lan", { ips });
  }

  say("Ethernet frames cross the pseudowire");
  show(await pings(pods[0], "10.1.0.2"));
  servers.start(inside(pods[1], "iperf3", "-s"));
  const iperf = inside(pods[0], "iperf3", "-c", "10.1.0.2", "-t", "3", "-J");
  const report = await until("iperf3 answers", async () => {
    const { stdout, status } = await tryRun(iperf);
    return status === 0 ? stdout : undefined;
  });
  const { end } = JSON.parse(report) as { end: { sum_received: { bits_per_second: number } } };
  show(`TCP: ${(end.sum_received.bits_per_second / 1e9).toFixed(2)} Gbit/s`);
  show(await l2tpctl(a, "sessions"));

  say("l2tpctl doctor checks the pseudowire");
  show((await tryRun(["bin/l2tpctl", "--socket", a.socket, "doctor", "--seconds", "1"])).stdout);
});
