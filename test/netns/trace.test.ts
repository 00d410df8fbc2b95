/** l2tpctl trace, with agents and datapath processes. For the kernel datapaths see test/kernel/trace.test.ts. */
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { SessionSpec, TunnelSpec } from "../../operator/api/types.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { EXPERIMENTAL, experimentalFrame, FramePort } from "../harness/frames.ts";
import { inside, ping, TestNet } from "../harness/net.ts";
import { managedSession, managedTunnel, sessionObject, tunnelObject } from "../harness/objects.ts";
import { Background, tryRun } from "../harness/run.ts";
import { MessageSender } from "../harness/sender.ts";
import { L2TPCTL, TestTrace } from "../harness/trace.ts";
import { COOKIES } from "../harness/variants.ts";
import { until } from "../harness/wait.ts";

const SECRET = "correct-horse-battery-staple";
/** Matches digits of cookies and nonces, which must not be printed. */
const DIGITS = /(Cookie|Nonce)[^\n]* [0-9a-f]{8}/;

let net: TestNet;
let agents: [TestAgent, TestAgent];
const background = new Background();

beforeEach(async () => {
  net = await TestNet.create();
  agents = [new TestAgent(net.a), new TestAgent(net.b)];
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(...agents.map(({ log }) => log));
  await background.stopAll();
  for (const agent of agents) await agent.destroy();
  await net.remove();
});

const trace = (...args: string[]) => TestTrace.start(agents[0], background, ...args);
const traceOnce = (...args: string[]) =>
  tryRun(inside(net.a.name, L2TPCTL, "--socket", agents[0].socket, "trace", ...args));

async function attach(index: 0 | 1): Promise<string> {
  const { host, socket } = agents[index];
  const pod = await net.addPod(`pod${index}`);
  const runtimeConfig = { ips: [`10.1.0.${index + 1}/24`] };
  const config = { cniVersion: "1.0.0", name: "x", type: "l2tp", session: "shop/lan" };
  const full = { ...config, socket, runtimeConfig };
  const answer = await cni(host, { command: "ADD", netns: pod, config: full });
  expect(answer.status, answer.stdout).toBe(0);
  return pod;
}

/** Starts one agent, with a session whose peer is the test. */
async function startOne(tunnel: Partial<TunnelSpec>, session: Partial<SessionSpec>) {
  const [a] = agents;
  const lan = sessionObject("lan", "branch", session);
  a.write("all.yaml", [tunnelObject("branch", net.a, net.b, tunnel), lan]);
  await a.start();
  return attach(0);
}

/** Starts two agents, each with a pod. @returns the first pod */
async function startBoth(
  tunnel: Partial<TunnelSpec>,
  session: (index: number) => Partial<SessionSpec>,
): Promise<string> {
  for (const [index, agent] of agents.entries()) {
    const [local, remote] = index === 0 ? [net.a, net.b] : [net.b, net.a];
    const ends = { local: { address: local.ipv4 }, remote: { address: remote.ipv4 } };
    const change = tunnel.encapsulation === "IP" ? { ...tunnel, ...ends } : tunnel;
    agent.write("all.yaml", [
      tunnelObject("branch", local, remote, change),
      sessionObject("lan", "branch", session(index)),
    ]);
    await agent.start();
  }
  const pod = await attach(0);
  await attach(1);
  return pod;
}

describe("control messages", () => {
  function write(control: object): void {
    const secretRef = { namespace: "shop", name: "control", key: "secret" };
    for (const [index, agent] of agents.entries()) {
      const [local, remote] = index === 0 ? [net.a, net.b] : [net.b, net.a];
      const role = index === 0 ? {} : { initiate: false, role: "LNS" };
      const hello = { interval: "1s", deadAfter: "10s" };
      const settings = { hello, secretRef, ...role, ...control };
      agent.writeSecret("shop", "control", "secret", SECRET);
      agent.write("all.yaml", [
        managedTunnel("branch", local, remote, settings),
        managedSession("lan", "branch"),
      ]);
    }
  }

  it("of a tunnel are decoded and authenticated, and secrets are not shown", async () => {
    write({ hideValues: true });
    const [a, b] = agents;
    await a.start();
    const traced = await trace("branch");
    await b.start();
    await until("the peer is connected", async () => {
      const [tunnel] = await a.ask({ op: "tunnels" });
      return tunnel?.control?.state === "established";
    });
    await traced.prints(/SCCRQ to connection 0, Ns \d+, Nr 0, authentic\n {4}/);
    await traced.prints(/SCCRP to connection [1-9]\d*, .*, authentic\n(.*\n)* {4}Host Name "/);
    await traced.prints(/SCCCN to connection .*, authentic/);
    await traced.prints(/ICRQ to .*, authentic\n(.*\n)* {4}Remote End ID "shop\/lan"/);
    await traced.prints(/ICCN to /);
    await traced.prints(/HELLO to /);
    const directions = [net.a, net.b].map(({ ipv4 }) => ` ${ipv4}:1701 > `);
    for (const direction of directions) expect(traced.output).toContain(direction);
    expect(traced.output).toContain("Assigned Cookie (");
    expect(traced.output).toContain("Nonce (");
    expect(traced.output).not.toMatch(DIGITS);
    expect(traced.output).not.toContain(SECRET);
    expect(traced.output).not.toMatch(/NOT AUTHENTIC|sequence|! /);
    expect(await traced.interrupt()).toBe(0);
  });

  it("of a session exclude those of other sessions", async () => {
    write({});
    const [a, b] = agents;
    await a.start();
    const traced = await trace("shop/lan", "--control");
    await b.start();
    await traced.prints(/ICRQ[\s\S]*ICRP[\s\S]*ICCN/);
    await attach(1);
    await traced.prints(/SLI/);
    a.remove("all.yaml");
    await traced.prints(/CDN|Trace ended/);
    expect(traced.output).not.toMatch(/SCC|HELLO|ACK/);
    expect(traced.output).not.toMatch(DIGITS);
  });
});

describe("headers of frames", () => {
  it.each<[string, Partial<TunnelSpec>]>([
    ["over UDP", {}],
    ["over IP", { encapsulation: "IP" }],
    ["on the fast path", { udpChecksum: false, fastPath: true }],
  ])("%s are shown in both directions", async (_name, tunnel) => {
    const [left, right] = COOKIES[8];
    const cookies = [
      { receive: { value: left }, transmit: { value: right } },
      { receive: { value: right }, transmit: { value: left } },
    ];
    const pod = await startBoth(tunnel, (index) => ({ cookies: cookies[index] ?? {} }));
    const traced = await trace("shop/lan", "--data");
    await until("frames cross", () => ping(pod, "10.1.0.2", { count: 3 }));
    const port = tunnel.encapsulation === "IP" ? "" : ":5000";
    const head = (from: string, to: string) =>
      `${from}${port} > ${to}${port} shop/lan session 128, cookie matches, sublayer, `.replaceAll(
        ".",
        "\\.",
      );
    const macs = "([0-9a-f]{2}:){5}[0-9a-f]{2} > ([0-9a-f]{2}:){5}[0-9a-f]{2}";
    for (const way of [head(net.a.ipv4, net.b.ipv4), head(net.b.ipv4, net.a.ipv4)]) {
      await traced.prints(new RegExp(`${way}${macs}, IPv4, 98 octets\n`));
    }
    for (const cookie of [left, right]) expect(traced.output).not.toContain(cookie);
    expect(await traced.interrupt()).toBe(0);
  });

  it("show what is wrong with a frame", async () => {
    const [left] = COOKIES[8];
    const cookies = { receive: { value: left }, transmit: { value: left } };
    await startOne({ udpChecksum: false }, { cookies });
    // No flags, since a static tunnel has no control messages.
    const [whole, part] = [await trace("branch"), await trace("shop/lan", "--data")];
    const sender = new MessageSender(net.b, net.a);
    const wrong = left.replaceAll(/./g, (digit) => (digit === "0" ? "1" : "0"));
    sender.send({ cookie: left, sequence: null });
    sender.send({ cookie: wrong, sequence: null });
    sender.send({ sessionId: 4711, sequence: null });
    sender.send({ cookie: left, sequence: 7, frame: experimentalFrame(9000).subarray(0, 1600) });
    sender.send({ cookie: left.slice(0, 4), frame: new Uint8Array(0) });
    const mac = `02:00:00:00:00:01 > 02:00:00:00:00:02, 0x${EXPERIMENTAL}`;
    for (const traced of [whole, part]) {
      await traced.prints(/! shorter than the session's header/);
      const { output } = traced;
      expect(output).toContain(`session 128, cookie matches, sublayer, ${mac}, 64 octets\n`);
      expect(output).toContain(`session 128, COOKIE MISMATCH, sublayer, ${mac}, 64 octets\n`);
      expect(output).toMatch(
        /sublayer, sequence 7, .* 1600 octets\n {4}! fragmented\n {4}! larger than the MTU/,
      );
      for (const cookie of [left, wrong]) expect(output).not.toContain(cookie);
    }
    expect(whole.output).toMatch(/session 4711, .*\n {4}! no session of the tunnel has this ID/);
    expect(part.output).not.toContain("4711");
    sender.close();
  });

  it("are limited, and the rest is counted", async () => {
    const pod = await startOne({}, {});
    const traced = await trace("shop/lan", "--data");
    const port = new FramePort(pod, "net1");
    await until("the trace omits frames", () => {
      for (let count = 0; count < 200; count++) port.send(experimentalFrame(64));
      return / more frames in this second/.test(traced.output);
    });
    port.close();
    const [first = ""] = traced.output.split(" more frames");
    // A new second may have started before the first frame.
    expect(first.split("\n").length).toBeLessThanOrEqual(101);
    expect(await traced.interrupt()).toBe(0);
  });
});

describe("decisions by sequence numbers", () => {
  it.each([
    ["without reordering", "0ms"],
    ["with reordering", "100ms"],
  ])("%s are shown, and equal the counters", async (_name, reorderTimeout) => {
    await startOne({ udpChecksum: false }, { sequencing: { receive: true, reorderTimeout } });
    const [a] = agents;
    const traced = await trace("shop/lan", "--sequence");
    const sender = new MessageSender(net.b, net.a);
    for (const sequence of [10, 11, 13, 12]) sender.send({ sequence });
    if (reorderTimeout === "0ms") {
      await traced.prints(/sequence 12: dropped: it is late/);
      expect(traced.output).toMatch(/sequence 13: 1 earlier number did not arrive in time/);
      await traced.counts("rxSeqDiscards", 1);
      await traced.counts("rxOosPackets", 1);
    } else {
      await traced.prints(
        /sequence 13: held[\s\S]*12: delivered\n[\s\S]*13: delivered after being held/,
      );
      sender.send({ sequence: 20 });
      await traced.prints(/sequence 20: held[\s\S]*20: delivered after being held/);
    }
    // The sender restarts.
    for (let sequence = 1000; sequence < 1100; sequence++) sender.send({ sequence });
    await until("all decisions are shown", async () => {
      const session = await a.session("shop/lan");
      return (session?.counters.rxPackets ?? 0) > 50;
    });
    for (let sequence = 0; sequence < 20; sequence++) sender.send({ sequence });
    await traced.prints(/accepted: the sender restarted its count/);
    await traced.counts("resyncs", 1);
    sender.send({ sequence: null });
    await traced.prints(/shop\/lan: dropped: no sequence number/);
    // Frames in order are shown rarely.
    await traced.prints(/ more decisions in this second: \d+ delivered/);
    sender.close();
  });

  it("are shown for each of the datagrams that the kernel joined", async () => {
    const sequencing = { send: true, receive: true };
    const pod = await startBoth({}, () => ({ sequencing }));
    await until("frames cross", () => ping(pod, "10.1.0.2"));
    const traced = await trace("shop/lan", "--data", "--sequence");
    // The other pod's stack splits these into equal pieces, more than one packet can hold.
    await until("large frames cross", () => ping(pod, "10.1.0.2", { size: 20_000 }));
    await traced.prints(/IPv4, 1\d{3} octets[\s\S]*IPv4, 1\d{3} octets/);
    await traced.prints(/delivered/);
    expect(traced.output).not.toMatch(/MTU|MISMATCH|dropped/);
  });
});

describe("a trace", () => {
  it("ends when its object is deleted", async () => {
    await startOne({}, {});
    const [a] = agents;
    // The first line has headings.
    const packetSockets = () =>
      readFileSync(`/proc/${a.pid()}/net/packet`, "utf8").trim().split("\n").length - 1;
    expect(packetSockets()).toBe(0);
    const [tunnel, session] = [await trace("branch"), await trace("shop/lan")];
    expect(packetSockets()).toBe(2);
    a.remove("all.yaml");
    expect(await session.ended()).toBe(0);
    expect(await tunnel.ended()).toBe(0);
    // The pod may have sent frames before.
    expect(tunnel.output).toMatch(/Trace ended: no L2tpTunnel branch on node .*\.\n$/);
    expect(session.output).toMatch(/Trace ended: no L2tpSession shop\/lan on node .*\.\n$/);
    await a.logs(/trace ended[\s\S]*trace ended/);
    await until("the packet sockets are closed", () => packetSockets() === 0);
  });

  it("rejects unknown objects and wrong arguments", async () => {
    await startOne({}, {});
    for (const [args, status, message] of [
      [["other"], 1, /^l2tpctl: no L2tpTunnel other on node .*; l2tpctl tunnels shows /],
      [["shop/other"], 1, /^l2tpctl: no L2tpSession shop\/other on node .*; l2tpctl sessions /],
      [[], 2, /missing required argument/],
      [["Branch"], 2, /Use TUNNEL or NAMESPACE\/SESSION/],
      [["a/b/c"], 2, /Use TUNNEL or NAMESPACE\/SESSION/],
      [["branch", "--frames"], 2, /unknown option/],
      [["branch", "shop/lan"], 2, /too many arguments/],
    ] as const) {
      const { stdout, stderr, status: ended } = await traceOnce(...args);
      expect([ended, stdout], stderr).toEqual([status, ""]);
      expect(stderr).toMatch(message);
    }
  });

  it("reports why an object is not programmed", async () => {
    const [a] = agents;
    const lan = sessionObject("lan", "other");
    a.write("all.yaml", [tunnelObject("branch", net.a, net.b), lan]);
    await a.start();
    const { stderr, status } = await traceOnce("shop/lan");
    expect(status).toBe(1);
    expect(stderr).toMatch(/L2tpSession shop\/lan is not programmed: .*other/);
  });

  it("is limited in number, and ends when its reader exits", async () => {
    const pod = await startOne({}, {});
    const traces: TestTrace[] = [];
    for (let count = 0; count < 4; count++) traces.push(await trace("branch"));
    const refused = await traceOnce("branch");
    expect(refused.status).toBe(1);
    expect(refused.stderr).toMatch(/4 traces already run on node .*; end one of them/);
    await traces[0]?.interrupt();
    const port = new FramePort(pod, "net1");
    const socket = ["--socket", agents[0].socket];
    const head = ["sh", "-c", `"$@" | head -n 1`, "-", L2TPCTL, ...socket, "trace", "branch"];
    let isOver = false;
    const read = tryRun(inside(net.a.name, ...head)).finally(() => {
      isOver = true;
    });
    await until("the trace has ended", () => {
      port.send(experimentalFrame(64));
      return isOver;
    });
    port.close();
    const { stdout, stderr } = await read;
    expect(stdout).toMatch(/^\S+ \S+ > \S+ shop\/lan session 128, [^\n]*\n$/);
    expect(stderr).toBe("");
    await trace("branch");
  });
});
