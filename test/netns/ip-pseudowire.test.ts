/** Pseudowires of type IP between pods: manifests, an agent on each host, and CNI. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { pseudowireMtu } from "../../model/mtu.ts";
import type { SessionSpec } from "../../operator/api/types.ts";
import { TestAgent } from "../harness/agent.ts";
import { type CniAnswer, cni } from "../harness/cni.ts";
import { FramePort } from "../harness/frames.ts";
import { type Host, inside, ip, link, linksOf, nameOf, ping, TestNet } from "../harness/net.ts";
import { managedSession, managedTunnel, sessionObject, tunnelObject } from "../harness/objects.ts";
import { run } from "../harness/run.ts";
import { type End, streamTcp, streamUdp, wrongChecksums } from "../harness/streams.ts";
import { Capture } from "../harness/tshark.ts";
import { COOKIES, VARIANTS, type Variant } from "../harness/variants.ts";
import { until } from "../harness/wait.ts";

const IP = { pseudowireType: "IP" } as const;
const HELLO = { hello: { interval: "1s", deadAfter: "3s" } };

let net: TestNet;
let agents: [TestAgent, TestAgent];
let pods: [string, string];
let folder: string;
let count = 0;

beforeAll(async () => {
  net = await TestNet.create();
  agents = [new TestAgent(net.a), new TestAgent(net.b)];
  await Promise.all(agents.map((agent) => agent.start()));
});

afterAll(async () => {
  for (const agent of agents ?? []) await agent.destroy();
  await net?.remove();
});

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "ip-"));
  count++;
  pods = [await net.addPod(`left${count}`), await net.addPod(`right${count}`)];
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(...agents.map(({ log }) => log));
  for (const pod of pods) await net.removePod(pod);
  const before = new Date(Date.now() + 60_000).toISOString();
  for (const agent of agents) await agent.ask({ op: "gc", network: "n", valid: [], before });
  rmSync(folder, { recursive: true });
});

const HOSTS = [
  [0, 1],
  [1, 0],
] as const;

/** Each test has its own objects: those of the previous test may still exist. */
const name = () => `lan${count}`;
const tunnelName = () => `branch${count}`;
const key = () => `shop/${name()}`;

type Objects = (local: Host, remote: Host, index: 0 | 1) => object[];

/** Writes the objects of each end. */
function put(objects: Objects): void {
  const hosts = [net.a, net.b] as const;
  for (const [index, other] of HOSTS) {
    agents[index].write("all.yaml", objects(hosts[index], hosts[other], index));
  }
}

/** Writes the objects, and waits until both agents have read them. */
async function write(objects: Objects): Promise<void> {
  put(objects);
  for (const agent of agents) await until("the session is known", () => agent.session(key()));
}

const statically =
  (session: Partial<SessionSpec>, tunnel: object = {}): Objects =>
  (local, remote) => [
    tunnelObject(tunnelName(), local, remote, { fastPath: false, udpChecksum: true, ...tunnel }),
    sessionObject(name(), tunnelName(), session),
  ];
const putStatic = (session: Partial<SessionSpec>) => put(statically(session));
const writeStatic = (session: Partial<SessionSpec> = IP, tunnel: object = {}) =>
  write(statically(session, tunnel));

function call(command: string, index: 0 | 1, more: object = {}): Promise<CniAnswer> {
  const { host, socket } = agents[index];
  const config = { cniVersion: "1.0.0", name: "n", type: "l2tp", session: key(), socket };
  const netns = pods[index];
  const containerId = `${nameOf(netns)}`;
  return cni(host, { command, netns, containerId, config: { ...config, ...more } });
}

function expectOk(answer: CniAnswer): CniAnswer {
  expect(answer, answer.stdout + answer.stderr).toMatchObject({ status: 0 });
  return answer;
}

/** Calls ADD at both ends, with an IPv4 and an IPv6 address. */
async function attach(): Promise<void> {
  for (const index of [0, 1] as const) {
    const ips = [`10.1.0.${index + 1}/24`, `fd00::${index + 1}/64`];
    await until("ADD succeeds", async () => {
      const answer = await call("ADD", index, { runtimeConfig: { ips } });
      return answer.status === 0 || Promise.reject(new Error(answer.stdout));
    });
  }
  await until("datagrams cross", () => ping(pods[0], "10.1.0.2"));
}

const counters = async (index: 0 | 1) => (await agents[index].session(key()))?.counters ?? {};
const condition = (type: string) => agents[0].condition("l2tpsession", key(), type);

/** The error counters of both ends. */
async function errors() {
  const all = await Promise.all(([0, 1] as const).map(counters));
  return all.map(({ rxPackets, rxBytes, txPackets, txBytes, rxNoDevice, ...rest }) => rest);
}

/** Checks pings up to the MTU, a TCP stream and UDP datagrams over IPv4 and IPv6, and the error counters. */
async function expectAll(): Promise<void> {
  const [one, two] = pods;
  const mtu = (await link(one, "net1"))?.mtu ?? 0;
  const before = await errors();
  for (const [size, address] of [
    [mtu - 28, "10.1.0.2"],
    [mtu - 48, "fd00::2"],
  ] as const) {
    expect(await ping(one, address, { size, count: 3, args: ["-M", "do"] })).toBe(true);
  }
  const ends = (near: string, far: string): [End, End] => [
    { netns: one, address: near },
    { netns: two, address: far },
  ];
  const [ipv4, ipv6] = [ends("10.1.0.1", "10.1.0.2"), ends("fd00::1", "fd00::2")];
  const [first, second] = count % 2 === 0 ? [ipv4, ipv6] : [ipv6, ipv4];
  const streams = [
    await streamTcp(first[0], first[1], 4_000_000),
    await streamUdp(second[1], second[0], 200_000),
  ];
  for (const { sent, received } of streams) expect(received).toEqual(sent);
  for (const netns of pods) expect(await wrongChecksums(netns)).toBe(0);
  expect(await errors()).toEqual(before);
}

const familyOf = ({ family }: Pick<Variant, "family">) => (family === 4 ? "ipv4" : "ipv6");

describe.each(VARIANTS)(
  "$encapsulation over IPv$family, cookies of $cookieBytes, sublayer $sublayer",
  (variant) => {
    it("forwards IPv4 and IPv6 datagrams", async () => {
      const { encapsulation, cookieBytes, sublayer } = variant;
      const port = encapsulation === "UDP" ? { port: 5000 } : {};
      const end = (host: Host) => ({ address: host[familyOf(variant)], ...port });
      const numbered = { send: true, receive: true };
      await write((local, remote, index) => {
        const [receive, transmit] =
          index === 0 ? COOKIES[cookieBytes] : COOKIES[cookieBytes].toReversed();
        const cookies = { receive: { value: receive }, transmit: { value: transmit } };
        return [
          tunnelObject(tunnelName(), local, remote, {
            ...{ encapsulation, local: end(local), remote: end(remote), fastPath: false },
            udpChecksum: true,
          }),
          sessionObject(name(), tunnelName(), {
            ...IP,
            l2SpecificSublayer: sublayer,
            ...(cookieBytes === 0 ? {} : { cookies: cookies as never }),
            ...(sublayer === "Default" && cookieBytes > 0 ? { sequencing: numbered } : {}),
          }),
        ];
      });
      await attach();
      const shape = { ...variant, l2SpecificSublayer: sublayer, txCookieBytes: cookieBytes };
      const mtu = pseudowireMtu(1500, shape, 0, 0);
      expect(await link(pods[0], "net1")).toMatchObject({ mtu, link_type: "none" });
      await expectAll();
    });
  },
);

describe.each(["UDP", "IP"] as const)("a managed tunnel over %s", (encapsulation) => {
  const writeManaged = (family: "ipv4" | "ipv6", session: object) =>
    write((local, remote, index) => {
      const role = index === 0 ? {} : { initiate: false, role: "LNS" };
      const ends = { local: { address: local[family] }, remote: { address: remote[family] } };
      const plain = { encapsulation, ...ends, fastPath: false, udpChecksum: true };
      return [
        managedTunnel(tunnelName(), local, remote, { ...HELLO, ...role }, plain),
        managedSession(name(), tunnelName(), { ...IP, ...session }),
      ];
    });

  it.each(["ipv4", "ipv6"] as const)(
    "over %s negotiates type IP, and forwards datagrams",
    async (family) => {
      await writeManaged(family, { sequencing: { send: true, receive: true } });
      await attach();
      await until("the session is established", () => condition("Established")?.status === "True");
      await expectAll();
    },
  );

  it("is decoded by tshark without remarks", async () => {
    const capture = new Capture(net.a, join(folder, "wire.pcap"));
    try {
      await capture.start();
      await writeManaged("ipv4", {});
      await attach();
      await until("IPv6 datagrams cross", () => ping(pods[0], "fd00::2"));
      for (const address of ["10.1.0.2", "fd00::2"]) {
        expect(await ping(pods[0], address, { count: 3 })).toBe(true);
      }
      const packets = await capture.dissect();
      // Tshark does not know AVP 91, the MTU (RFC 4667).
      const known = /^(Vendor-Specific AVP data)?$/;
      expect(packets.filter(({ notes }) => !known.test(notes))).toEqual([]);
      const data = packets.filter(({ protocols }) => !protocols.endsWith(":l2tp"));
      expect(data.filter(({ notes }) => notes !== "")).toEqual([]);
      // Tshark shows the inner IPv4 in its tree, but not in the list of protocols.
      for (const inner of [/:l2tp:(ip:)?icmp:/, /:l2tp:ipv6:icmpv6:/]) {
        const pings = data.filter(({ protocols }) => inner.test(protocols));
        expect(pings.length).toBeGreaterThanOrEqual(6);
      }
    } finally {
      await capture.stop();
    }
  });
});

it("is rejected by a peer with another type", async () => {
  await write((local, remote, index) => {
    const role = index === 0 ? {} : { initiate: false, role: "LNS" };
    const type = index === 0 ? IP : {};
    return [
      managedTunnel(tunnelName(), local, remote, { ...HELLO, ...role }),
      managedSession(name(), tunnelName(), type),
    ];
  });
  await until("the peer rejects the session", () =>
    condition("Established")?.message.includes("unsupported pseudowire type"),
  );
});

it("keeps large frames unsegmented to and from the device", async () => {
  await writeStatic();
  await attach();
  for (const [near, far] of [
    ["10.1.0.1", "10.1.0.2"],
    ["fd00::1", "fd00::2"],
  ] as const) {
    const before = await Promise.all([framesOf(0), framesOf(1)]);
    await streamTcp(
      { netns: pods[0], address: near },
      { netns: pods[1], address: far },
      30_000_000,
    );
    const after = await Promise.all([framesOf(0), framesOf(1)]);
    const grown = (index: 0 | 1, field: keyof (typeof before)[0]) =>
      after[index][field] - before[index][field];
    // Each large frame is several packets on the wire: most packets of a stream carry data.
    expect(grown(0, "sent")).toBeGreaterThan(4 * grown(0, "read"));
    expect(grown(1, "received")).toBeGreaterThan(4 * grown(1, "written"));
  }
});

/** Frames of the session on the wire, and frames read from and written to its device. */
async function framesOf(index: 0 | 1) {
  const { txPackets = 0, rxPackets = 0 } = await counters(index);
  const json = await ip(pods[index], "-j", "-s", "link", "show", "net1");
  const [{ stats64 }] = JSON.parse(json) as [
    { stats64: { rx: { packets: number }; tx: { packets: number } } },
  ];
  const { rx, tx } = stats64;
  return { sent: txPackets, read: tx.packets, received: rxPackets, written: rx.packets };
}

describe("the pod's interface", () => {
  const ipam = (addresses: object[], routes: object[]) => ({
    ipam: { type: "static", addresses, routes },
  });

  it("gets IPAM's addresses and routes, with and without a gateway; the result has no MAC address", async () => {
    await writeStatic();
    expectOk(
      await call(
        "ADD",
        1,
        ipam(
          [{ address: "10.20.0.5/32" }, { address: "fd99::fe/64" }, { address: "fd55::5/128" }],
          [{ dst: "10.99.0.0/24" }],
        ),
      ),
    );
    const all = ipam(
      [{ address: "10.99.0.1/24" }, { address: "fd99::1/64", gateway: "fd99::fe" }],
      [{ dst: "10.20.0.0/16" }, { dst: "::/0" }],
    );
    const { json } = expectOk(await call("ADD", 0, all));
    expect(json.interfaces).toEqual([{ name: "net1", sandbox: pods[0] }]);
    expect(json.routes).toEqual([{ dst: "10.20.0.0/16" }, { dst: "::/0", gw: "fd99::fe" }]);
    const routes = await run(inside(pods[0], "sh", "-c", "ip route; ip -6 route"));
    expect(routes).toMatch(/10\.20\.0\.0\/16 dev net1 .*scope link/);
    expect(routes).toMatch(/default via fd99::fe dev net1/);
    for (const address of ["10.20.0.5", "fd55::5"]) {
      await until(`${address} answers`, () => ping(pods[0], address));
    }
    expect(expectOk(await call("ADD", 0, all)).json).toEqual(json);
    expectOk(await call("CHECK", 0, { ...all, prevResult: json }));
    await run(inside(pods[0], "ip", "route", "del", "10.20.0.0/16"));
    const missed = await call("CHECK", 0, { ...all, prevResult: json });
    expect(missed.json).toMatchObject({ code: 104, msg: expect.stringContaining("10.20.0.0/16") });
    expectOk(await call("DEL", 0, { ...all, prevResult: json }));
    expect((await linksOf(pods[0])).map(({ ifname }) => ifname)).toEqual(["lo"]);
    expect((await agents[0].ask({ op: "attachments" })).map(({ mac }) => mac)).toEqual([]);
  });

  it("has an address with a peer", async () => {
    await writeStatic();
    const peers = [
      ["10.5.1.1 peer 10.5.1.2", "10.5.1.2"],
      ["10.5.1.2 peer 10.5.1.1", "10.5.1.1"],
    ] as const;
    for (const [index, [address]] of peers.entries()) {
      expectOk(await call("ADD", index as 0 | 1, { runtimeConfig: { ips: [address] } }));
    }
    await until("the peer answers", () => ping(pods[0], peers[0][1]));
  });

  it("sends no announcement, since it has no link-layer address", async () => {
    await writeStatic();
    const ips = (index: number) => [`10.1.0.${index + 1}/24`, `fd00::${index + 1}/64`];
    expectOk(await call("ADD", 1, { runtimeConfig: { ips: ips(1) } }));
    const port = new FramePort(pods[1], "net1");
    try {
      expectOk(await call("ADD", 0, { runtimeConfig: { ips: ips(0) } }));
      await until("datagrams cross", () => ping(pods[0], "fd00::2"));
      const heard: Buffer[] = [];
      for (let one = port.receive(); one !== null; one = port.receive()) heard.push(one);
      expect(heard.length).toBeGreaterThan(0);
      for (const datagram of heard) {
        expect([4, 6]).toContain((datagram[0] ?? 0) >> 4);
        // ICMPv6's neighbor advertisement.
        if (datagram[6] === 58) expect(datagram[40]).not.toBe(136);
      }
    } finally {
      port.close();
    }
  });

  it("gets no IPv6 link-local address with announce: false, and sends nothing", async () => {
    await writeStatic({ ...IP, attachment: { announce: false } });
    expectOk(await call("ADD", 0, { runtimeConfig: { ips: ["10.1.0.1/24"] } }));
    const addresses = (await link(pods[0], "net1"))?.addr_info?.map(({ local }) => local);
    expect(addresses).toEqual(["10.1.0.1"]);
    expect((await counters(0)).txPackets).toBe(0);
  });

  it.each([
    ["mac", { runtimeConfig: { mac: "02:00:5e:00:53:01" } }, /^mac 02:00:5e:00:53:01: .* IP/],
    ["mac", { mac: "02:00:5e:00:53:01" }, /omit mac/],
    ["dhcp", { ipam: { type: "dhcp" } }, /^ipam\.type dhcp: .*host-local/],
  ])("is rejected with %s", async (_what, more, message) => {
    await writeStatic();
    await until("the session is programmed", () => condition("Programmed")?.status === "True");
    const { json, status } = await call("ADD", 0, more);
    expect(status).toBe(1);
    expect(json).toMatchObject({ code: 2, msg: expect.stringMatching(message) });
    expect((await linksOf(pods[0])).map(({ ifname }) => ifname)).toEqual(["lo"]);
    expect(await agents[0].ask({ op: "attachments" })).toEqual([]);
  });

  it.each([
    ["mode Bridge", { mode: "Bridge" }, "Bridge cannot carry IP"],
    ["macSpoofing Refuse", { macSpoofing: "Refuse" }, "IP has no MAC addresses"],
  ] as const)("is rejected with %s", async (_what, attachment, message) => {
    await writeStatic({ ...IP, attachment });
    await until("the status has the message", () =>
      condition("Accepted")?.message.includes(message),
    );
    const { json } = await call("ADD", 0);
    expect(json).toMatchObject({ code: 11, msg: expect.stringContaining(message) });
  });

  it("follows a change of the type, while the process runs and while it is down", async () => {
    const bare = async () => (await link(pods[0], "net1"))?.link_type;
    await writeStatic({});
    await attach();
    expect(await bare()).toBe("ether");
    for (const [type, linkType] of [
      [IP, "none"],
      [{}, "ether"],
    ] as const) {
      await writeStatic(type);
      await until(`the link type is ${linkType}`, async () => (await bare()) === linkType);
      await until("datagrams cross", () => ping(pods[0], "10.1.0.2"));
      await until("IPv6 datagrams cross", () => ping(pods[0], "fd00::2"));
    }
    for (const [type, linkType] of [
      [IP, "none"],
      [{}, "ether"],
    ] as const) {
      for (const agent of agents) {
        await agent.kill();
        process.kill(await agent.datapathPid(), "SIGKILL");
      }
      putStatic(type);
      for (const agent of agents) await agent.start();
      await until(`the link type is ${linkType}`, async () => (await bare()) === linkType);
      await until("datagrams cross", () => ping(pods[0], "10.1.0.2"));
      await until("IPv6 datagrams cross", () => ping(pods[0], "fd00::2"));
    }
  });
});

it("shows the type, and frames of the peer that are not IP", async () => {
  await writeStatic();
  await attach();
  expect(await agents[0].session(key())).toMatchObject({ pseudowireType: "IP" });
  const [row] = await agents[0].ask({ op: "attachments" });
  expect(row?.mac).toBe("");
  // The peer has another type, which a static tunnel cannot detect.
  agents[1].write("all.yaml", [
    tunnelObject(tunnelName(), net.b, net.a, { fastPath: false, udpChecksum: true }),
    sessionObject(name(), tunnelName()),
  ]);
  await until(
    "the link has another kind",
    async () => (await link(pods[1], "net1"))?.link_type === "ether",
  );
  const before = (await counters(0)).rxNotIp ?? 0;
  await until("frames are counted", async () => {
    await ping(pods[1], "10.1.0.1");
    return ((await counters(0)).rxNotIp ?? 0) > before;
  });
});

it("uses the process in a tunnel with the fast path, and the doctor reports why", async () => {
  await writeStatic(IP, { udpChecksum: false, fastPath: true });
  await attach();
  await expectAll();
  const { findings } = await agents[0].ask({ op: "doctor", seconds: 0 });
  const found = findings.find(({ finding }) => finding.includes("fast path"));
  expect(found?.finding).toContain("Ethernet frames only, and the session is of type IP");
});
