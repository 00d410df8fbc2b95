/** Messages and frames on the wire, decoded by Wireshark's L2TPv3 dissector. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { inside, ping, TestNet } from "../harness/net.ts";
import { managedSession, managedTunnel } from "../harness/objects.ts";
import { Background, run } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

let net: TestNet;
let agents: [TestAgent, TestAgent];
let folder: string;
const background = new Background();

beforeEach(async () => {
  net = await TestNet.create();
  agents = [new TestAgent(net.a), new TestAgent(net.b)];
  folder = mkdtempSync(join(tmpdir(), "l2tp-tshark-"));
});

afterEach(async () => {
  await background.stopAll();
  for (const agent of agents) await agent.destroy();
  await net.remove();
  rmSync(folder, { recursive: true });
});

/** Each packet's protocols and expert information. The dissector must be told that the payload is Ethernet. */
async function dissect(file: string): Promise<{ protocols: string; notes: string }[]> {
  const types = ["-d", "l2tp.pw_type==4,eth", "-d", "l2tp.pw_type==5,eth"];
  const fields = ["-T", "fields", "-e", "frame.protocols", "-e", "_ws.expert.message"];
  const output = await run(["tshark", "-n", "-r", file, "-Y", "l2tp", ...types, ...fields]);
  const lines = output.split("\n").filter((line) => line !== "");
  return lines.map((line) => {
    const [protocols = "", notes = ""] = line.split("\t");
    return { protocols, notes };
  });
}

/** Captures a managed tunnel from its first message on, with pings in the session. */
async function capture(session: object): Promise<string> {
  const file = join(folder, "wire.pcap");
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
  let said = "";
  const command = [
    "tcpdump",
    "-i",
    a.device,
    "-U",
    "--immediate-mode",
    "-w",
    file,
    "udp",
    "or",
    "proto",
    "115",
  ];
  background.start(inside(a.name, ...command), (text) => {
    said += text;
  });
  await until("tcpdump listens", () => said.includes("listening"));
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
  await background.stopAll("SIGINT");
  return file;
}

it.each<[string, object, string]>([
  ["Ethernet", {}, "l2tp:ethertype:ip:icmp"],
  [
    "EthernetVLAN",
    { pseudowireType: "EthernetVLAN", vlan: { id: 100 } },
    "l2tp:ethertype:vlan:ethertype:ip:icmp",
  ],
])("%s: it decodes all messages and frames, without remarks", async (_type, session, inner) => {
  const packets = await dissect(await capture(session));
  // Tshark does not know AVP 91, the MTU (RFC 4667).
  const control = packets.filter(({ protocols }) => protocols.endsWith(":l2tp"));
  expect(control.filter(({ notes }) => !/^(Vendor-Specific AVP data)?$/.test(notes))).toEqual([]);
  const frames = packets.filter((packet) => !control.includes(packet));
  expect(frames.filter(({ notes }) => notes !== "")).toEqual([]);
  const pings = frames.filter(({ protocols }) => protocols.includes(inner));
  expect(pings.length).toBeGreaterThanOrEqual(6);
});
