/** Keyed IPv6 tunnels (RFC 8159): sessions with equal IDs, which the tunnels' addresses distinguish. */
import { readdirSync, readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import {
  ALL_ONES,
  COOKIES,
  circuitAddress,
  KeyedPeer,
  keyedSession,
  keyedTunnel,
  PREFIX,
  routePrefix,
} from "../harness/keyed.ts";
import { ip, link, nameOf, ping, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { Background } from "../harness/run.ts";
import { TestTrace } from "../harness/trace.ts";
import { until } from "../harness/wait.ts";

const CIRCUITS = 1000;
const CROSSED = { receive: COOKIES.transmit, transmit: COOKIES.receive };

const background = new Background();
let net: TestNet;
let agents: [TestAgent, TestAgent];

beforeEach(async () => {
  net = await TestNet.create();
  agents = [new TestAgent(net.a), new TestAgent(net.b)];
  await routePrefix(net.b, net.a);
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(...agents.map(({ log }) => log));
  await background.stopAll();
  for (const agent of agents) await agent.destroy();
  await net.remove();
});

/** Returns the objects of a circuit, on host a with an address of the prefix, or on host b with its own. */
function circuit(index: number, host: 0 | 1): object[] {
  const name = `c${index}`;
  const address = circuitAddress(index);
  return host === 0
    ? [
        keyedTunnel(name, net.a.name, {
          local: { address, prefix: PREFIX },
          remote: { address: net.b.ipv6 },
        }),
        keyedSession(name),
      ]
    : [
        keyedTunnel(name, net.b.name, { local: { address: net.b.ipv6 }, remote: { address } }),
        keyedSession(name, { cookies: CROSSED }),
      ];
}

async function attach(host: 0 | 1, name: string): Promise<string> {
  const agent = agents[host];
  const netns = await net.addPod(`${name}-${host}`);
  const runtimeConfig = { ips: [`10.1.0.${host + 1}/24`] };
  const rest = { session: `shop/${name}`, socket: agent.socket, runtimeConfig };
  const config = { cniVersion: "1.0.0", name: "keyed", type: "l2tp", ...rest };
  const call = { command: "ADD", netns, containerId: nameOf(netns), config };
  const answer = await cni(agent.host, call);
  expect(answer.status, answer.stdout).toBe(0);
  return netns;
}

const programmed = (agent: TestAgent, name: string) =>
  until(`session ${name} is programmed`, async () => {
    const row = await agent.session(`shop/${name}`);
    return row?.conditions.some(({ type, status }) => type === "Programmed" && status === "True");
  });

const routes = () => ip(net.a.name, "-6", "route", "show", "table", "local");
const conditionOf = (kind: "l2tptunnel" | "l2tpsession", key: string) => {
  const accepted = agents[0].condition(kind, key, "Accepted");
  return accepted?.status === "False" ? accepted : agents[0].condition(kind, key, "Programmed");
};
const refused = (kind: "l2tptunnel" | "l2tpsession", key: string, text: string) =>
  until(
    () => `${key} is refused: ${JSON.stringify(conditionOf(kind, key))}`,
    () =>
      conditionOf(kind, key)?.status === "False" && conditionOf(kind, key)?.message.includes(text),
  );

/** Returns the number of the process's raw IPv6 sockets for L2TP. */
async function rawSockets(): Promise<number> {
  const pid = await agents[0].datapathPid();
  const sockets = readdirSync(`/proc/${pid}/fd`).length;
  const lines = readFileSync(`/proc/${pid}/net/raw6`, "utf8").split("\n");
  // Port 0x73 is the protocol. Another socket learns path MTUs.
  return sockets === 0 ? 0 : lines.filter((line) => /^\s*\d+: [0-9A-F]{32}:0073/.test(line)).length;
}

it("serves a thousand circuits with one ID by one socket, without addresses on interfaces", async () => {
  const all = Array.from({ length: CIRCUITS }, (_, index) => circuit(index, 0)).flat();
  agents[0].write("all.yaml", all);
  agents[1].write(
    "all.yaml",
    [0, 499, 999].flatMap((index) => circuit(index, 1)),
  );
  for (const agent of agents) await agent.start();
  await programmed(agents[0], "c999");
  await programmed(agents[1], "c999");
  expect(await routes()).toContain(`local ${PREFIX} dev lo proto 115`);
  expect(await rawSockets()).toBe(2);
  const wire = await link(net.a.name, net.a.device);
  expect(wire?.addr_info?.some(({ local }) => local.startsWith("2001:db8:77"))).toBe(false);

  const peer = new KeyedPeer(net.b);
  try {
    for (let index = 0; index < CIRCUITS; index++) peer.send(circuitAddress(index));
    // The thousand tunnels share an endpoint. A message for an unknown session is not a finding for each tunnel.
    const examined = agents[0].ask({ op: "doctor", seconds: 2 });
    for (let count = 0; count < 20; count++) peer.send("2001:db8:77::dead");
    const { findings } = await examined;
    expect(findings.filter(({ finding }) => finding.includes("session id"))).toEqual([]);
  } finally {
    peer.close();
  }
  await until("each circuit has its frame", async () => {
    const rows = await agents[0].ask({ op: "sessions" });
    return rows.length === CIRCUITS && rows.every(({ counters }) => counters.rxNoDevice === 1);
  });
  for (const index of [0, 499, 999]) {
    const name = `c${index}`;
    const pod = await attach(0, name);
    await attach(1, name);
    await until(`frames of ${name} cross`, () => ping(pod, "10.1.0.2"));
    expect(await ping(pod, "10.1.0.2", { size: 1400, count: 3 })).toBe(true);
    const traced = await TestTrace.start(agents[0], background, `shop/${name}`, "--data");
    await ping(pod, "10.1.0.2");
    await traced.prints(/session 4294967295.*cookie matches/);
  }
  const rows = await agents[0].ask({ op: "sessions" });
  const errors = rows.map(
    ({ counters }) => (counters.rxErrors ?? 0) + (counters.rxSourceMismatch ?? 0),
  );
  expect(errors.every((count) => count === 0)).toBe(true);
  // The agent restarts, and then everything is deleted.
  await agents[0].kill();
  await agents[0].start();
  expect(await routes()).toContain(PREFIX);
  agents[0].remove("all.yaml");
  await until("the local route is deleted", async () => !(await routes()).includes(PREFIX));
});

describe("public reports about many tunnels on one address", () => {
  it("tunneldigger#64: peers whose sessions all have ID 1", async () => {
    const second = "2001:db8::22";
    await ip(net.b.name, "addr", "add", `${second}/64`, "dev", net.b.device, "nodad");
    const ids = { sessionId: 1, peerSessionId: 1 };
    const remotes = [net.b.ipv6, second];
    const objects = (host: 0 | 1) =>
      remotes.flatMap((address, index) => {
        const name = `p${index}`;
        const ends = [{ address: net.a.ipv6 }, { address }] as const;
        const [local, remote] = host === 0 ? ends : [ends[1], ends[0]];
        const cookies = host === 0 ? COOKIES : CROSSED;
        const nodeName = host === 0 ? net.a.name : net.b.name;
        return [
          keyedTunnel(name, nodeName, { local, remote }),
          keyedSession(name, { ...ids, cookies }),
        ];
      });
    for (const host of [0, 1] as const) {
      agents[host].write("all.yaml", objects(host));
      await agents[host].start();
    }
    for (const name of ["p0", "p1"]) {
      const pod = await attach(0, name);
      await attach(1, name);
      await until(`frames of ${name} cross`, () => ping(pod, "10.1.0.2"));
    }
  });

  it("tunneldigger#75: tunnels on one IPv6 address and UDP port", async () => {
    const ends = (index: number, host: 0 | 1) => {
      const [a, b] = [
        { address: net.a.ipv6, port: 53 },
        { address: net.b.ipv6, port: 5000 + index },
      ];
      return host === 0 ? { local: a, remote: b } : { local: b, remote: a };
    };
    for (const host of [0, 1] as const) {
      const [local, remote] = host === 0 ? [net.a, net.b] : [net.b, net.a];
      const objects = [1, 2, 3].flatMap((index) => {
        const ids = { tunnelId: index, peerTunnelId: index };
        const session = { sessionId: index, peerSessionId: index };
        return [
          tunnelObject(`t${index}`, local, remote, { ...ids, ...ends(index, host) }),
          sessionObject(`t${index}`, `t${index}`, session),
        ];
      });
      agents[host].write("all.yaml", objects);
      await agents[host].start();
    }
    for (const name of ["t1", "t2", "t3"]) {
      const pod = await attach(0, name);
      await attach(1, name);
      await until(`frames of ${name} cross`, () => ping(pod, "10.1.0.2"));
    }
  });
});

describe("bad input", () => {
  it("does not affect other circuits", async () => {
    const prefixed = (address: string, prefix = PREFIX) => ({
      local: { address, prefix },
      remote: { address: net.b.ipv6 },
    });
    const node = net.a.name;
    const bad = [
      keyedTunnel("z-same-pair", node, prefixed(circuitAddress(0))),
      keyedTunnel("z-other-prefix", node, prefixed("2001:db8:78::1")),
      keyedTunnel("z-own-network", node, prefixed("2001:db8::77", "2001:db8::/64")),
      keyedTunnel("z-short-cookie", node, prefixed(circuitAddress(7))),
      keyedSession("z-short-cookie", { cookies: { ...COOKIES, receive: { value: "11111111" } } }),
      keyedTunnel("z-no-cookie", node, prefixed(circuitAddress(8))),
      keyedSession("z-no-cookie", { cookies: {} }),
      sessionObject("z-second", "c0", {
        ...{ sessionId: ALL_ONES, peerSessionId: 7, cookies: COOKIES },
      }),
    ];
    agents[0].write("all.yaml", [...circuit(0, 0), ...circuit(1, 0)]);
    agents[1].write("all.yaml", circuit(0, 1));
    for (const agent of agents) await agent.start();
    const pod = await attach(0, "c0");
    await attach(1, "c0");
    await until("frames cross", () => ping(pod, "10.1.0.2"));
    agents[0].write("bad.yaml", bad);
    await refused("l2tptunnel", "z-same-pair", "keyed L2tpTunnel c0 uses it with remote address");
    await refused("l2tptunnel", "z-other-prefix", "not an address of spec.local.prefix");
    await refused("l2tptunnel", "z-own-network", "contains spec.remote.address");
    await refused(
      "l2tpsession",
      "shop/z-short-cookie",
      "4 bytes, but L2tpTunnel z-short-cookie is",
    );
    await refused(
      "l2tpsession",
      "shop/z-no-cookie",
      "missing, but L2tpTunnel z-no-cookie is keyed",
    );
    await refused("l2tpsession", "shop/z-second", "a keyed tunnel has only one session");
    const peer = new KeyedPeer(net.b);
    try {
      peer.send(circuitAddress(0), "deadbeefdeadbeef");
      peer.send(circuitAddress(0), COOKIES.receive.value, "00000007");
      peer.send("2001:db8:77::dead");
      peer.send(circuitAddress(1));
    } finally {
      peer.close();
    }
    await until("each has its own counter", async () => {
      const one = (await agents[0].session("shop/c0"))?.counters ?? {};
      const two = (await agents[0].session("shop/c1"))?.counters ?? {};
      return one.rxCookieDiscards === 1 && two.rxNoDevice === 1 && two.rxCookieDiscards === 0;
    });
    expect(await ping(pod, "10.1.0.2")).toBe(true);
    expect(await routes()).not.toContain("2001:db8::/64");
  });

  it("does not override the node's route to a network in the prefix", async () => {
    await ip(net.a.name, "-6", "route", "add", "2001:db8:79:0:1::/80", "via", net.b.ipv6);
    const local = { address: "2001:db8:79::1", prefix: "2001:db8:79::/64" };
    agents[0].write("all.yaml", [
      keyedTunnel("t", net.a.name, { local, remote: { address: net.b.ipv6 } }),
      ...circuit(0, 0),
    ]);
    await agents[0].start();
    await programmed(agents[0], "c0");
    await refused("l2tptunnel", "t", "the node has a route to 2001:db8:79:0:1::/80");
    await ip(net.a.name, "-6", "route", "del", "2001:db8:79:0:1::/80");
    await until(
      "the tunnel is programmed",
      () => conditionOf("l2tptunnel", "t")?.status === "True",
    );
    await agents[0].teardownOrKill();
    expect(await routes()).not.toContain("2001:db8:79");
  });
});
