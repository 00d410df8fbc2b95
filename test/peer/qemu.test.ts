/** The userspace datapath with QEMU's L2TPv3 as the peer. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { pseudowireMtu } from "../../model/mtu.ts";
import type { SessionSpec, TunnelSpec } from "../../operator/api/types.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { expectEverySize, FramePort } from "../harness/frames.ts";
import { ip, ping, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { startQemu } from "../harness/qemu.ts";
import { Background } from "../harness/run.ts";
import { streamTcp, wrongChecksums } from "../harness/streams.ts";
import { COOKIES, VARIANTS, type Variant } from "../harness/variants.ts";
import { until } from "../harness/wait.ts";

const ETHERNET_HEADER_BYTES = 14;

let net: TestNet;
let agent: TestAgent;
const qemu = new Background();

beforeAll(async () => {
  net = await TestNet.create();
  agent = new TestAgent(net.a);
  await agent.start();
});

afterEach(() => qemu.stopAll());

afterAll(async () => {
  await qemu.stopAll();
  await agent?.destroy();
  await net?.remove();
});

function qemuOptions({ encapsulation, family, cookieBytes, sublayer }: Variant): string {
  const address = family === 4 ? "ipv4" : "ipv6";
  const udp = encapsulation === "UDP" ? ["udp=on", "srcport=5000", "dstport=5000"] : ["udp=off"];
  const [ours, theirs] = COOKIES[cookieBytes];
  // QEMU's txcookie is the cookie that the session requires.
  // QEMU 7.2 ignores the value of cookie64: `cookie64=off` sends 8 bytes.
  const width = cookieBytes === 8 ? ["cookie64=on"] : [];
  const cookies = cookieBytes === 0 ? [] : [...width, `txcookie=0x${ours}`, `rxcookie=0x${theirs}`];
  return [
    `src=${net.b[address]},dst=${net.a[address]}`,
    `ipv6=${family === 6 ? "on" : "off"}`,
    "rxsession=0xffffffff,txsession=7",
    sublayer === "Default" ? "counter=on,pincounter=on" : "counter=off",
    ...udp,
    ...cookies,
  ].join(",");
}

// QEMU's counter is in the place of the default sublayer; pinned to 0 it equals one without sequencing.
describe.each(VARIANTS)(
  "$encapsulation over IPv$family, cookies of $cookieBytes, sublayer $sublayer",
  (variant) => {
    it("forwards frames of every size", async () => {
      const { encapsulation, family, cookieBytes, sublayer } = variant;
      const address = family === 4 ? "ipv4" : "ipv6";
      const port = encapsulation === "UDP" ? { port: 5000 } : {};
      const tunnel: Partial<TunnelSpec> = {
        encapsulation,
        local: { address: net.a[address], ...port },
        remote: { address: net.b[address], ...port },
      };
      const [receive, transmit] = COOKIES[cookieBytes];
      const session: Partial<SessionSpec> = {
        sessionId: 7,
        peerSessionId: 0xffffffff,
        l2SpecificSublayer: sublayer,
        ...(cookieBytes === 0
          ? {}
          : { cookies: { receive: { value: receive }, transmit: { value: transmit } } }),
      };
      const name = `s${encapsulation}${family}${cookieBytes}${sublayer}`.toLowerCase();
      agent.write("one.yaml", [
        tunnelObject("t", net.a, net.b, tunnel),
        sessionObject(name, "t", session),
      ]);
      await until("the session is programmed", async () => {
        const row = await agent.session(`shop/${name}`);
        return row?.conditions.some(
          ({ type, status }) => type === "Programmed" && status === "True",
        );
      });
      const pod = await net.addPod(name);
      const config = {
        cniVersion: "1.0.0",
        name: "qemu",
        type: "l2tp",
        session: name,
        namespace: "shop",
        socket: agent.socket,
        runtimeConfig: { ips: ["10.1.0.1/24", "fd00::1/64"] },
      };
      const call = { containerId: name, netns: pod, config };
      expect((await cni(net.a, { command: "ADD", ...call })).stdout).toContain("net1");

      await startQemu(qemu, net.b, "qtap", qemuOptions(variant));
      const mtu = pseudowireMtu(1500, {
        family,
        encapsulation,
        l2SpecificSublayer: sublayer,
        txCookieBytes: cookieBytes,
      });
      await ip(net.b.name, "addr", "add", "10.1.0.2/24", "dev", "qtap");
      await ip(net.b.name, "addr", "add", "fd00::2/64", "dev", "qtap", "nodad");
      await ip(net.b.name, "link", "set", "qtap", "mtu", String(mtu), "up");
      await until("the first ping is answered", () => ping(pod, "10.1.0.2"));
      // With 28 bytes of IPv4 and ICMP the ping fills the MTU.
      expect(await ping(pod, "10.1.0.2", { size: mtu - 28, args: ["-M", "do"] })).toBe(true);
      expect(await ping(pod, "fd00::2")).toBe(true);
      expect(await ping(net.b.name, "10.1.0.1", { count: 5 })).toBe(true);
      const ours = new FramePort(pod, "net1");
      const theirs = new FramePort(net.b.netns, "qtap");
      await expectEverySize(ours, theirs, mtu + ETHERNET_HEADER_BYTES);
      await expectEverySize(theirs, ours, mtu + ETHERNET_HEADER_BYTES);
      ours.close();
      theirs.close();
      // Behind QEMU is the kernel's stack: it must accept the datapath's segments, and send segments to join.
      for (const [near, far] of [
        ["10.1.0.1", "10.1.0.2"],
        ["fd00::1", "fd00::2"],
      ] as const) {
        const end = { netns: pod, address: near };
        const other = { netns: net.b.netns, address: far };
        for (const [from, to] of [
          [end, other],
          [other, end],
        ] as const) {
          const { sent, received } = await streamTcp(from, to, 2_000_000);
          expect(received).toEqual(sent);
        }
      }
      expect(await wrongChecksums(pod)).toBe(0);
      const { counters } = (await agent.session(`shop/${name}`)) ?? { counters: {} };
      expect(counters).toMatchObject({ rxErrors: 0, txErrors: 0, rxSourceMismatch: 0 });
      await qemu.stopAll();
      expect((await cni(net.a, { command: "DEL", ...call })).status).toBe(0);
    });
  },
);

it("serves two peers on one UDP port, which the kernel's L2TP cannot", async () => {
  // The second peer has another address and port, and the same session ID.
  const second = "192.0.2.22";
  await ip(net.b.name, "addr", "add", `${second}/24`, "dev", net.b.device);
  const peers = [
    { name: "one", address: net.b.ipv4, port: 5000, sessionId: 1, device: "qtap1" },
    { name: "two", address: second, port: 5001, sessionId: 2, device: "qtap2" },
  ];
  agent.write(
    "one.yaml",
    peers.flatMap(({ name, address, port, sessionId }, index) => [
      tunnelObject(name, net.a, net.b, {
        tunnelId: index + 1,
        local: { address: net.a.ipv4, port: 5000 },
        remote: { address, port },
      }),
      sessionObject(name, name, { sessionId, peerSessionId: 9, l2SpecificSublayer: "None" }),
    ]),
  );
  const pods: FramePort[] = [];
  const remotes: FramePort[] = [];
  for (const { name, address, port, sessionId, device } of peers) {
    await until(`session ${name} is programmed`, async () =>
      (await agent.session(`shop/${name}`))?.conditions.some(
        ({ type, status }) => type === "Programmed" && status === "True",
      ),
    );
    const pod = await net.addPod(name);
    const config = { cniVersion: "1.0.0", name: "qemu", type: "l2tp", session: `shop/${name}` };
    const answer = await cni(net.a, {
      command: "ADD",
      containerId: name,
      netns: pod,
      config: { ...config, socket: agent.socket },
    });
    expect(answer.status, answer.stdout).toBe(0);
    const ends = `src=${address},dst=${net.a.ipv4},udp=on,srcport=${port},dstport=5000`;
    const sessions = `rxsession=9,txsession=${sessionId},counter=off`;
    await startQemu(qemu, net.b, device, `${ends},${sessions}`);
    await ip(net.b.name, "link", "set", device, "up");
    pods.push(new FramePort(pod, "net1"));
    remotes.push(new FramePort(net.b.netns, device));
  }
  for (const index of [0, 1]) {
    const [pod, remote] = [pods[index] as FramePort, remotes[index] as FramePort];
    await expectEverySize(pod, remote, 200);
    await expectEverySize(remote, pod, 200);
  }
  // Each session has received frames of its own peer only.
  for (const { name } of peers) {
    const { counters } = (await agent.session(`shop/${name}`)) ?? { counters: {} };
    expect(counters).toMatchObject({ rxErrors: 0, rxSourceMismatch: 0 });
  }
  for (const port of [...pods, ...remotes]) port.close();
});
