/** `make demo-switch`: a node without pods joins two pseudowires that differ in everything but their frames. */
import { TestAgent } from "../harness/agent.ts";
import { sessionObject } from "../harness/objects.ts";
import { middleOf, switchedSession, variantTunnel } from "../harness/switch.ts";
import { COOKIES, type Variant } from "../harness/variants.ts";
import { until } from "../harness/wait.ts";
import { attach, l2tpctl, perform, pings, say, show } from "./stage.ts";

const PARIS: Variant = { encapsulation: "UDP", family: 4, cookieBytes: 0, sublayer: "Default" };
const ROME: Variant = { encapsulation: "IP", family: 6, cookieBytes: 8, sublayer: "None" };
const VLAN = 100;

await perform(async ({ net, agents }) => {
  const rome = await net.addHost();
  const { left, right } = middleOf(net);
  const hub = new TestAgent(net.a);
  const ends = [new TestAgent(net.b), new TestAgent(rome)] as const;
  agents.push(hub, ...ends);
  const vlan = { pseudowireType: "EthernetVLAN", vlan: { id: VLAN } } as const;
  say("Three nodes: a hub, with a wire to Paris and a wire to Rome");
  say(
    "Paris has an Ethernet pseudowire over UDP and IPv4; Rome has VLAN 100 over IPv6, with cookies",
  );
  hub.write("hub.yaml", [
    variantTunnel("paris", left, net.b, PARIS, 1),
    variantTunnel("rome", right, rome, ROME, 2),
    switchedSession("to-paris", "paris", "to-rome", PARIS, { sessionId: 1, peerSessionId: 2 }),
    switchedSession("to-rome", "rome", "to-paris", ROME, {
      ...{ sessionId: 3, peerSessionId: 4 },
      ...vlan,
    }),
  ]);
  ends[0].write("paris.yaml", [
    variantTunnel("hub", net.b, left, PARIS, 1),
    sessionObject("lan", "hub", { sessionId: 2, peerSessionId: 1 }),
  ]);
  const [receive, transmit] = COOKIES[ROME.cookieBytes];
  ends[1].write("rome.yaml", [
    variantTunnel("hub", rome, right, ROME, 2),
    sessionObject("lan", "hub", {
      ...{ l2SpecificSublayer: "None", sessionId: 4, peerSessionId: 3, ...vlan },
      cookies: { receive: { value: transmit }, transmit: { value: receive } },
    }),
  ]);
  await Promise.all(agents.map((agent) => agent.start()));

  say("A pod in Paris and a pod in Rome; the hub has none");
  const pods = [await net.addPod("paris"), await net.addPod("rome")] as const;
  for (const [index, agent] of ends.entries()) {
    const ips = [`10.1.0.${index + 1}/24`];
    const name = index === 0 ? "paris" : "rome";
    await attach(agent, pods[index] ?? "", `shop/${name}`, "lan", { ips });
  }

  say("The hub's two sessions name each other, so frames cross");
  show(await until("frames cross", () => pings(pods[0], "10.1.0.2")));
  show(await l2tpctl(hub, "sessions"));
});
