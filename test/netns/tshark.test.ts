/** Messages and frames on the wire, decoded by Wireshark's L2TPv3 dissector. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { DecodedDatagram } from "../../cli/capture/decode.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { ping, TestNet } from "../harness/net.ts";
import { managedSession, managedTunnel, sessionObject, tunnelObject } from "../harness/objects.ts";
import { run } from "../harness/run.ts";
import { switchTo } from "../harness/switch.ts";
import { Capture, type Dissected } from "../harness/tshark.ts";
import { until } from "../harness/wait.ts";

const L2TPCTL = fileURLToPath(new URL("../../bin/l2tpctl", import.meta.url));

let net: TestNet;
let agents: [TestAgent, TestAgent];
let folder: string;
let capture: Capture;

beforeEach(async () => {
  net = await TestNet.create();
  agents = [new TestAgent(net.a), new TestAgent(net.b)];
  folder = mkdtempSync(join(tmpdir(), "l2tp-tshark-"));
  capture = new Capture(net.a, join(folder, "wire.pcap"));
});

afterEach(async () => {
  await capture.stop();
  for (const agent of agents) await agent.destroy();
  await net.remove();
  rmSync(folder, { recursive: true });
});

/** Dissects a managed tunnel from its first message on, with pings in the session. */
async function dissect(session: object): Promise<Dissected[]> {
  const hello = { interval: "1s", deadAfter: "3s" };
  const { a, b } = net;
  agents[0].write("all.yaml", [
    managedTunnel("t", a, b, { hello }),
    managedSession("lan", "t", session),
  ]);
  agents[1].write("all.yaml", [
    managedTunnel("t", b, a, { hello, initiate: false, role: "LNS" }),
    managedSession("lan", "t", session),
  ]);
  await capture.start();
  const pods: string[] = [];
  for (const [index, agent] of agents.entries()) {
    await agent.start();
    const netns = await net.addPod(`pod${index}`);
    pods.push(netns);
    const ips = [`10.1.0.${index + 1}/24`];
    const rest = { session: "shop/lan", socket: agent.socket, runtimeConfig: { ips } };
    const config = { cniVersion: "1.0.0", name: "tshark", type: "l2tp", ...rest };
    const answer = await cni(agent.host, { command: "ADD", netns, config });
    expect(answer.status, answer.stdout).toBe(0);
  }
  const [pod = ""] = pods;
  await until("frames cross", () => ping(pod, "10.1.0.2"));
  // Pings that waited for neighbor resolution are sent in one datagram; these are sent one by one.
  expect(await ping(pod, "10.1.0.2", { count: 5 })).toBe(true);
  // The dissector must be told that the payload is Ethernet.
  return capture.dissect(["-d", "l2tp.pw_type==4,eth", "-d", "l2tp.pw_type==5,eth"]);
}

/** Tshark does not know AVPs 91 (MTU, RFC 4667), 93 (switches) and 103 (ECN, RFC 9601). */
const KNOWN = /^(Vendor-Specific AVP data,?)*$/;

it.each<[string, object, string]>([
  ["Ethernet", {}, "l2tp:ethertype:ip:icmp"],
  [
    "EthernetVLAN",
    { pseudowireType: "EthernetVLAN", vlan: { id: 100 } },
    "l2tp:ethertype:vlan:ethertype:ip:icmp",
  ],
])("%s: it decodes all messages and frames, without remarks", async (_type, session, inner) => {
  const packets = await dissect(session);
  const control = packets.filter(({ protocols }) => protocols.endsWith(":l2tp"));
  expect(control.filter(({ notes }) => !KNOWN.test(notes))).toEqual([]);
  const frames = packets.filter((packet) => !control.includes(packet));
  expect(frames.filter(({ notes }) => notes !== "")).toEqual([]);
  const pings = frames.filter(({ protocols }) => protocols.includes(inner));
  expect(pings.length).toBeGreaterThanOrEqual(6);
});

it("decodes the calls of a switch, and the offer of ECN", async () => {
  const { a, b } = net;
  const hello = { interval: "1s", deadAfter: "3s" };
  const spec = { datapath: "Userspace" as const, ecn: true };
  agents[0].write("all.yaml", [
    managedTunnel("t", a, b, { hello }, spec),
    managedSession("lan", "t", switchTo("other")),
    tunnelObject("static", a, { ...b, ipv4: "192.0.2.77" }),
    sessionObject("other", "static", switchTo("lan")),
  ]);
  agents[1].write("all.yaml", [
    managedTunnel("t", b, a, { hello, initiate: false, role: "LNS" }, spec),
    managedSession("lan", "t"),
  ]);
  await capture.start();
  for (const agent of agents) await agent.start();
  // No pod is attached to the peer's session.
  await until("the session is established", () => {
    return agents[0].condition("l2tpsession", "shop/lan", "Established")?.reason === "NotActive";
  });
  const control = await capture.dissect();
  expect(control.filter(({ notes }) => !KNOWN.test(notes))).toEqual([]);
  const decode = ["decode", join(folder, "wire.pcap"), "-o", "json"];
  const messages = JSON.parse(await run([L2TPCTL, ...decode])) as DecodedDatagram[];
  const text = JSON.stringify(messages);
  expect(text).toContain("ECN Capability");
  expect(text).toContain("Tunnel Switching Aggregator ID");
});
