/** The fast path: counters, frames for the process, and changes of tunnels, sessions and routes. */
import { join as joinPath } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DatapathClient } from "../../datapath/userspace/client.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { type Host, inside, ip, link, nameOf, ping, TestNet } from "../harness/net.ts";
import { managedSession, managedTunnel, sessionObject, tunnelObject } from "../harness/objects.ts";
import { run } from "../harness/run.ts";
import { streamTcp } from "../harness/streams.ts";
import { until } from "../harness/wait.ts";

const FAST = { udpChecksum: false, fastPath: true };
const COOKIE = "a1b2c3d4";
const SESSION_ID = 77;

let net: TestNet;
let a: TestAgent;
let b: TestAgent;
let podA: string;
let podB: string;

const sides = () =>
  [
    [a, net.b],
    [b, net.a],
  ] as const;

beforeEach(async () => {
  net = await TestNet.create();
  a = new TestAgent(net.a);
  b = new TestAgent(net.b);
  podA = await net.addPod("pa");
  podB = await net.addPod("pb");
});

afterEach(async () => {
  for (const agent of [a, b]) {
    const pid = await agent.datapathPid().catch(() => null);
    if (pid !== null) process.kill(pid, "SIGCONT");
    await agent.destroy();
  }
  await net.remove();
});

/** Connects two pods. @param objects returns the objects of one side */
async function join(objects: (local: Host, remote: Host) => object[]): Promise<void> {
  for (const [agent, remote] of sides()) {
    agent.write("all.yaml", objects(agent.host, remote));
    await agent.start();
  }
  await attach(a, podA, "10.1.0.1");
  await attach(b, podB, "10.1.0.2");
  await until("frames cross", () => ping(podA, "10.1.0.2"));
}

async function attach(agent: TestAgent, netns: string, address: string): Promise<void> {
  const config = {
    ...{ cniVersion: "1.0.0", name: "fast", type: "l2tp", session: "shop/lan" },
    ...{ socket: agent.socket, runtimeConfig: { ips: [`${address}/24`] } },
  };
  const answer = await cni(agent.host, { command: "ADD", netns, config });
  expect(answer.status, answer.stdout).toBe(0);
}

const cookies = { receive: { value: COOKIE }, transmit: { value: COOKIE } };
const ids = { sessionId: SESSION_ID, peerSessionId: SESSION_ID };
const plain = (local: Host, remote: Host) => [
  tunnelObject("t", local, remote, FAST),
  sessionObject("lan", "t", { ...ids, cookies }),
];

/** Runs `work` while agents and datapath processes are stopped (SIGSTOP). */
async function withoutProcesses<T>(work: () => Promise<T>): Promise<T> {
  const pids = await Promise.all([a, b].map((agent) => agent.datapathPid()));
  for (const pid of pids) process.kill(pid, "SIGSTOP");
  try {
    return await work();
  } finally {
    for (const pid of pids) process.kill(pid, "SIGCONT");
  }
}

const fastOf = async (agent: TestAgent) => (await agent.session("shop/lan"))?.fastPath;
const countersOf = async (agent: TestAgent) => (await agent.session("shop/lan"))?.counters ?? {};

/** The counters of both ends, read while no frame is in flight. */
function settledCounters() {
  return until("no frame is in flight", async () => {
    const read = async () => [await countersOf(a), await countersOf(b)];
    const first = await read();
    return isDeepStrictEqual(await read(), first) ? first : undefined;
  });
}

describe("the fast path", () => {
  it("forwards frames while the process is stopped, and counts each frame", async () => {
    const started = performance.now();
    await join(plain);
    await until(
      "both ends are on the fast path",
      async () => (await fastOf(a)) && (await fastOf(b)),
    );
    const before = await settledCounters();
    const ends = [
      { netns: podA, address: "10.1.0.1" },
      { netns: podB, address: "10.1.0.2" },
    ] as const;
    await withoutProcesses(async () => {
      expect(await ping(podA, "10.1.0.2", { count: 5 })).toBe(true);
      for (const { sent, received } of [await streamTcp(...ends, 5_000_000)]) {
        expect(received).toEqual(sent);
      }
    });
    const after = await settledCounters();
    const grown = (end: 0 | 1, name: string) =>
      (after[end]?.[name] ?? 0) - (before[end]?.[name] ?? 0);
    // Large frames are counted as their segments.
    expect(grown(0, "txPackets")).toBeGreaterThan(5_000_000 / 1500);
    expect(grown(0, "txBytes")).toBeGreaterThan(5_000_000);
    for (const [near, far] of [
      [0, 1],
      [1, 0],
    ] as const) {
      expect(grown(far, "rxPackets")).toBe(grown(near, "txPackets"));
      expect(grown(far, "rxBytes")).toBe(grown(near, "txBytes"));
    }
    expect(after[1]?.rxErrors).toBe(0);
    const received = (await a.session("shop/lan"))?.lastReceivedMsAgo;
    expect(received).toBeLessThanOrEqual(performance.now() - started);
  });

  it("reaches an end without it over a virtual link, if offloads are off", async () => {
    await join((local, remote) => [
      tunnelObject("t", local, remote, local === net.a ? FAST : { udpChecksum: false }),
      sessionObject("lan", "t", { ...ids, cookies }),
    ]);
    await until("one end is on the fast path", async () => (await fastOf(a)) === true);
    expect(await fastOf(b)).toBe(false);
    const offload = ["-K", net.a.device, "tx", "off", "tso", "off"];
    await run(inside(net.a.name, "ethtool", ...offload));
    const near = { netns: podA, address: "10.1.0.1" };
    const far = { netns: podB, address: "10.1.0.2" };
    for (const { sent, received } of [
      await streamTcp(near, far, 1_000_000),
      await streamTcp(far, near, 1_000_000),
    ]) {
      expect(received).toEqual(sent);
    }
  });

  it("drops and counts invalid frames", async () => {
    await join(plain);
    const send = async (port: number, cookie: string) => {
      const frame = `ffffffffffff02000000000188b5${"00".repeat(46)}`;
      const header = `00030000${SESSION_ID.toString(16).padStart(8, "0")}${cookie}00000000`;
      const program = `
        const socket = require("node:dgram").createSocket("udp4");
        const data = Buffer.from("${header}${frame}", "hex");
        socket.bind(${port}, () => socket.send(data, 5000, "${net.a.ipv4}", () => socket.close()));
      `;
      await run(inside(net.b.name, process.execPath, "-e", program));
    };
    await send(6000, COOKIE);
    await until(
      "the unexpected source is counted",
      async () => (await countersOf(a)).rxSourceMismatch === 1,
    );
    await b.destroy();
    const portIsFree = () =>
      send(5000, "00000000").then(
        () => true,
        () => false,
      );
    await until("the other process releases the port", portIsFree);
    await until(
      "the wrong cookie is counted",
      async () => (await countersOf(a)).rxCookieDiscards === 1,
    );
    const before = (await countersOf(a)).rxPackets ?? 0;
    // A datagram with a checksum is valid; the process delivers it.
    await send(5000, COOKIE);
    await until(
      "the valid frame is counted",
      async () => (await countersOf(a)).rxPackets === before + 1,
    );
  });

  it("leaves frames that exceed the path MTU to the process", async () => {
    await join((local, remote) => [
      tunnelObject("t", local, remote, FAST),
      sessionObject("lan", "t", { ...ids, mtu: 4000 }),
    ]);
    await until("the session is on the fast path", () => fastOf(a));
    expect(await ping(podA, "10.1.0.2", { size: 3900 })).toBe(true);
    expect(await ping(podA, "10.1.0.2", { size: 1000 })).toBe(true);
  });

  it("follows changes of the tunnel, the session and the route to the remote", async () => {
    await join(plain);
    const before = await link(podA, "net1");
    for (const [agent, remote] of sides()) {
      const sequencing = { send: true, receive: true };
      agent.write("all.yaml", [
        tunnelObject("t", agent.host, remote, FAST),
        sessionObject("lan", "t", { ...ids, cookies, sequencing }),
      ]);
    }
    await until("the session leaves the fast path", async () => (await fastOf(a)) === false);
    await until("frames cross in the process", () => ping(podA, "10.1.0.2"));
    for (const [agent, remote] of sides()) agent.write("all.yaml", plain(agent.host, remote));
    await until(
      "the session is on the fast path again",
      async () => (await fastOf(a)) && (await fastOf(b)),
    );
    await until("frames cross", () => ping(podA, "10.1.0.2"));
    await ip(net.a.name, "link", "set", net.a.device, "down");
    await until("the fast path has no route", async () => (await fastOf(a)) === false);
    await ip(net.a.name, "link", "set", net.a.device, "up");
    await until("the fast path has a route", async () => (await fastOf(a)) === true);
    await withoutProcesses(() => until("frames cross", () => ping(podA, "10.1.0.2")));
    expect((await link(podA, "net1"))?.ifindex).toBe(before?.ifindex);
  });

  it("keeps forwarding while the process restarts, and the device stays", async () => {
    await join(plain);
    const before = await link(podA, "net1");
    const pid = await a.datapathPid();
    process.kill(pid, "SIGKILL");
    await until(
      "the process is restarted",
      async () => (await a.datapathPid().catch(() => pid)) !== pid,
    );
    await until("the session is on the fast path again", async () => (await fastOf(a)) === true);
    await withoutProcesses(() => until("frames cross", () => ping(podA, "10.1.0.2")));
    expect((await link(podA, "net1"))?.ifindex).toBe(before?.ifindex);
  });

  it("forwards no frame of a pod to the node while the process is down", async () => {
    await join(plain);
    await ip(nameOf(podA), "route", "add", net.a.ipv4, "dev", "net1");
    await a.kill();
    process.kill(await a.datapathPid(), "SIGKILL");
    const isGone = () =>
      a.datapathPid().then(
        () => false,
        () => true,
      );
    await until("the process has exited", isGone);
    expect(await ping(podA, net.a.ipv4, { count: 3 })).toBe(false);
    const neighbours = await ip(nameOf(podA), "neigh", "show", net.a.ipv4);
    expect(neighbours).not.toContain("lladdr");
    await a.start();
    await until("frames cross again", () => ping(podA, "10.1.0.2"));
  });

  it("falls back to a TAP device when disabled", async () => {
    await join(plain);
    for (const agent of [a, b]) {
      await agent.kill();
      process.kill(await agent.datapathPid(), "SIGKILL");
      await until("the fast path's devices are deleted", () =>
        agent.datapathPid().then(
          () => false,
          () => true,
        ),
      );
      agent.prefix = ["env", "L2TP_DATAPATH_FAST_PATH=off"];
      await agent.start();
    }
    await until("frames cross", () => ping(podA, "10.1.0.2"));
    expect(await fastOf(a)).toBe(false);
    expect(await ping(podA, "10.1.0.2", { size: 1300 })).toBe(true);
  });

  it("clears the carrier when the process shuts down", async () => {
    await join(plain);
    await a.kill();
    const socket = joinPath(a.folder, "run", "datapath.sock");
    const client = new DatapathClient(socket);
    await client.shutdown();
    client.close();
    await until("the carrier is down", async () =>
      (await link(podA, "net1"))?.flags.includes("NO-CARRIER"),
    );
  });

  it("deletes its links when the pod is deleted", async () => {
    await join(plain);
    await net.removePod(podA);
    await until("the links are deleted", async () => {
      const links = await ip(net.a.name, "-o", "link");
      return !links.includes("l2tpf") && !links.includes("l2tpt");
    });
    const again = await net.addPod("again");
    await attach(a, again, "10.1.0.1");
    await until("frames cross", () => ping(again, "10.1.0.2"));
    await until("the session is on the fast path again", () => fastOf(a));
  });

  it("forwards the sessions of a managed tunnel, and follows the peer's circuit status", async () => {
    await join((local, remote) => [
      managedTunnel("t", local, remote, { hello: { interval: "1s", deadAfter: "2s" } }, FAST),
      managedSession("lan", "t"),
    ]);
    await until(
      "the session is on the fast path",
      async () => (await fastOf(a)) && (await fastOf(b)),
    );
    await withoutProcesses(async () => expect(await ping(podA, "10.1.0.2")).toBe(true));
    await b.destroy();
    await until("the carrier is down", async () =>
      (await link(podA, "net1"))?.flags.includes("NO-CARRIER"),
    );
    await until("the session leaves the fast path", async () => (await fastOf(a)) === false);
  });
});
