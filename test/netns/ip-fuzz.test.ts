/** A million mutated datagrams over each encapsulation, for sessions of type IP with pods. */
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  buildFrame,
  type Packet,
  referenceSegments,
} from "../../datapath/userspace/offload/testdata.ts";
import { Random } from "../../l2tp/testing/random.ts";
import { ETHERNET_HEADER_BYTES } from "../../net/headers.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { account, mutatedObjects, spray } from "../harness/mutations.ts";
import { TestNet } from "../harness/net.ts";
import { until } from "../harness/wait.ts";

const TOTAL = 1_000_000;
const ROUND = 100_000;
const SESSIONS = ["plain", "cookie", "order"] as const;

let net: TestNet;
let agent: TestAgent;
let pids: [number, number];

beforeAll(async () => {
  net = await TestNet.create();
  agent = new TestAgent(net.a);
  const plain = { fastPath: false, udpChecksum: true };
  agent.write("all.yaml", mutatedObjects(net, { pseudowireType: "IP" }, plain));
  await agent.start();
  const pod = await net.addPod("fuzzed");
  for (const tunnel of ["udp", "ip"]) {
    for (const [index, name] of SESSIONS.entries()) {
      const session = `shop/${tunnel}-${name}`;
      const runtimeConfig = { ips: [`10.${tunnel.length}.${index}.1/24`] };
      const config = { cniVersion: "1.0.0", name: "n", type: "l2tp", session, runtimeConfig };
      const call = { command: "ADD", netns: pod, ifname: `${tunnel}${index}` };
      const answer = await cni(net.a, { ...call, config: { ...config, socket: agent.socket } });
      expect(answer.status, answer.stdout).toBe(0);
    }
  }
  pids = [agent.pid(), await agent.datapathPid()];
});

afterAll(async () => {
  await agent?.destroy();
  await net?.remove();
});

const bare = (frame: Buffer) => frame.subarray(ETHERNET_HEADER_BYTES).toString("hex");
const packets: Packet[] = [6, 17].flatMap((protocol) =>
  [true, false].map((isIpv4) => ({ isIpv4, protocol, payload: new Uint8Array(400) })),
);
const DATAGRAMS = [
  ...packets.flatMap((packet) => referenceSegments(packet, 200).map(bare)),
  // An Ethernet frame, PPP, and half of an IPv6 header.
  ...packets.slice(0, 1).flatMap((packet) => {
    const frame = buildFrame(packet);
    return [frame.toString("hex"), `ff030021${bare(frame)}`];
  }),
  `60${"00".repeat(20)}`,
];
const HEADERS = {
  UDP: [
    "000300000000000100000000",
    "0003000000000002a1b2c3d400000000",
    "000300000000000340000001",
    "000300000000000340000002",
  ],
  IP: ["0000001100000000", "00000012a1b2c3d400000000", "0000001340000001", "0000001340000002"],
} as const;

it.each(["UDP", "IP"] as const)("accounts for every datagram over %s", async (encapsulation) => {
  const tunnel = encapsulation.toLowerCase();
  const corpus = HEADERS[encapsulation].flatMap((header) =>
    DATAGRAMS.map((datagram) => Buffer.from(header + datagram, "hex")),
  );
  const random = new Random(5);
  do spray(net, random, { encapsulation, corpus, count: ROUND });
  while ((await account(agent, tunnel)).read < TOTAL);
  await until("all received datagrams are accounted for", async () => {
    const { read, accounted } = await account(agent, tunnel);
    return read === accounted && read === (await account(agent, tunnel)).read;
  });
  expect([agent.pid(), await agent.datapathPid()]).toEqual(pids);
  for (const name of SESSIONS) {
    const row = await agent.session(`shop/${tunnel}-${name}`);
    expect(row?.counters.rxPackets).toBeGreaterThan(0);
    expect(row?.counters.rxNotIp).toBeGreaterThan(0);
  }
  expect(agent.log).not.toMatch(/uncaught|unhandled/i);
});
