/**
 * The doctor's findings about a misconfigured peer: the same with every datapath and encapsulation. Runs again inside
 * the virtual machine, with the kernel datapath.
 */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { L2SpecificSublayer } from "../../l2tp/codec.ts";
import type { Encapsulation } from "../../model/model.ts";
import type { Finding } from "../../operator/agent-protocol.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { type Host, inside, ip, nameOf, TestNet } from "../harness/net.ts";
import { managedSession, managedTunnel, sessionObject, tunnelObject } from "../harness/objects.ts";
import { tryRun } from "../harness/run.ts";
import { until } from "../harness/wait.ts";
import { type DataMessage, quietFrame, WirePeer } from "../harness/wire-peer.ts";

const IS_KERNEL = process.env.L2TP_TEST_DATAPATH === "Kernel";
const DATAPATH = IS_KERNEL ? { datapath: "Kernel" as const } : {};

const PORT = 5000;
const COOKIE = "a1b2c3d4e5f60718";
const STRANGER = { ipv4: "192.0.2.77", ipv6: "2001:db8::77" };
const SEND_MS = 20;

interface Wire {
  readonly name: string;
  readonly encapsulation: Encapsulation;
  readonly family: "ipv4" | "ipv6";
  readonly sublayer: L2SpecificSublayer;
  readonly id: number;
}

const WIRES: readonly Wire[] = [
  { name: "udp4", encapsulation: "UDP", family: "ipv4", sublayer: "Default", id: 11 },
  { name: "udp6", encapsulation: "UDP", family: "ipv6", sublayer: "None", id: 12 },
  { name: "ip4", encapsulation: "IP", family: "ipv4", sublayer: "None", id: 13 },
  { name: "ip6", encapsulation: "IP", family: "ipv6", sublayer: "Default", id: 14 },
];

let net: TestNet;
let agent: TestAgent;
const pods = new Map<string, string>();

const portOf = ({ encapsulation }: Wire, port = PORT) => (encapsulation === "UDP" ? port : 0);

function objectsOf(wire: Wire): object[] {
  const { name, encapsulation, family, sublayer, id } = wire;
  const port = portOf(wire) === 0 ? {} : { port: PORT };
  return [
    tunnelObject(name, net.a, net.b, {
      ...{ encapsulation, tunnelId: id, peerTunnelId: id },
      local: { address: net.a[family], ...port },
      remote: { address: net.b[family], ...port },
      ...DATAPATH,
    }),
    sessionObject(name, name, {
      ...{ sessionId: id, peerSessionId: id + 100, l2SpecificSublayer: sublayer },
      cookies: { receive: { value: COOKIE }, transmit: { value: "01020304" } },
    }),
  ];
}

async function add(mine: TestAgent, netns: string, session: string, address: string) {
  const rest = {
    session: `shop/${session}`,
    socket: mine.socket,
    runtimeConfig: { ips: [address] },
  };
  const config = { cniVersion: "1.0.0", name: "doctor", type: "l2tp", ...rest };
  return cni(mine.host, { command: "ADD", netns, containerId: session, config });
}

beforeAll(async () => {
  net = await TestNet.create({ aIsInitial: IS_KERNEL });
  for (const [address, prefix] of [
    [STRANGER.ipv4, "24"],
    [STRANGER.ipv6, "64"],
  ]) {
    const nodad = prefix === "64" ? ["nodad"] : [];
    await ip(net.b.name, "addr", "add", `${address}/${prefix}`, "dev", net.b.device, ...nodad);
  }
});

afterEach((context) => {
  if (context.task.result?.state === "fail") console.log(agent.log);
});

afterAll(async () => {
  await net?.remove();
});

/** The doctor's findings while `work` runs repeatedly. */
async function findings(work: () => void = () => {}, seconds = 1): Promise<readonly Finding[]> {
  const timer = setInterval(work, SEND_MS);
  try {
    return (await agent.ask({ op: "doctor", seconds })).findings;
  } finally {
    clearInterval(timer);
  }
}

const textOf = ({ object, finding, remedy }: Finding) => `${object}: ${finding} -> ${remedy}`;

describe.each(WIRES)("over $name, the doctor", (wire) => {
  const { name, encapsulation, family, sublayer, id } = wire;
  const peers: WirePeer[] = [];

  /** A peer at host b. */
  function peer({ address = net.b[family], fromPort = PORT, toPort = PORT } = {}): WirePeer {
    const from = { address, port: portOf(wire, fromPort) };
    const to = { address: net.a[family], port: portOf(wire, toPort) };
    const opened = new WirePeer(net.b.netns, encapsulation, from, to);
    peers.push(opened);
    return opened;
  }

  const right: DataMessage = { sessionId: id, cookie: COOKIE, sublayer, frame: quietFrame(60) };
  const pod = () => nameOf(pods.get(name) ?? "");

  beforeAll(async () => {
    agent = new TestAgent(net.a);
    agent.write("all.yaml", objectsOf(wire));
    await agent.start();
    const netns = await net.addPod(name);
    pods.set(name, netns);
    const answer = await add(agent, netns, name, "10.1.0.1/24");
    expect(answer.status, answer.stdout).toBe(0);
  });

  afterEach(() => {
    for (const each of peers.splice(0)) each.close();
  });

  afterAll(async () => {
    if (IS_KERNEL) await agent.teardownOrKill();
    await agent.destroy();
  });

  it("reports that frames are sent and none received, and names what to compare", async () => {
    // The peer listens, so that its host sends no "port unreachable", and never answers.
    peer();
    const pings = tryRun(inside(pod(), "ping", "-q", "-c", "20", "-i", "0.2", "10.1.0.2"));
    const found = await findings(undefined, 2);
    await pings;
    expect(found.map(textOf)).toEqual([
      expect.stringMatching(
        new RegExp(`^L2tpSession shop/${name}: sent \\d+ frames?, received nothing so far -> `),
      ),
    ]);
    const remedy = found[0]?.remedy ?? "";
    const over = encapsulation === "UDP" ? /UDP .*port 5000/ : /IP protocol 115/;
    expect(remedy).toMatch(over);
    expect(remedy).toMatch(/firewall/);
    expect(remedy).toContain(`local session ID ${id + 100}, remote session ID ${id}`);
    expect(remedy).toMatch(/transmit cookie of 8 bytes, receive cookie of 4 bytes/);
    expect(remedy).not.toContain(COOKIE);
  });

  it("reports frames that the node's firewall drops", async () => {
    const program = family === "ipv4" ? "iptables" : "ip6tables";
    const what = encapsulation === "UDP" ? ["udp", "--dport", String(PORT)] : ["115"];
    const rule = (verb: string) =>
      tryRun(inside(net.a.name, program, verb, "INPUT", "-p", ...what, "-j", "DROP"));
    const { status, stderr } = await rule("-A");
    // A kernel without a packet filter.
    if (status !== 0) return expect(stderr).not.toBe("");
    const to = peer();
    const found = await findings(() => to.sendData(right));
    await rule("-D");
    expect(found.map(textOf)).toEqual([
      expect.stringMatching(
        new RegExp(`^L2tpSession shop/${name}: \\d+ frames reached the node but not .*firewall`),
      ),
    ]);
  });

  const tunnelFault = (finding: RegExp, remedy: RegExp) =>
    [`L2tpTunnel ${name}`, finding, remedy] as const;
  const sessionFault = (finding: RegExp, remedy: RegExp) =>
    [`L2tpSession shop/${name}`, finding, remedy] as const;

  const other = sublayer === "None" ? "Default" : "None";
  const control = Buffer.from(`${encapsulation === "UDP" ? "" : "00000000"}c803000c`, "hex");
  const short = Buffer.from(
    `${encapsulation === "UDP" ? "00030000" : ""}${id.toString(16).padStart(8, "0")}${COOKIE}`,
    "hex",
  );

  it.each<[string, (to: WirePeer) => void, readonly [string, RegExp, RegExp]]>([
    [
      "another session id",
      (to) => to.sendData({ ...right, sessionId: 999 }),
      tunnelFault(/an unknown session ID, the last with 999/, /sessionId/),
    ],
    [
      "another cookie",
      (to) => to.sendData({ ...right, cookie: "ffffffffffffffff" }),
      sessionFault(/wrong cookie/, /cookies\.receive/),
    ],
    [
      "another sublayer",
      (to) => to.sendData({ ...right, sublayer: other }),
      sessionFault(/L2-specific sublayer; this session expects/, /same at both ends/),
    ],
    [
      "frames above the device's MTU",
      (to) => to.sendData({ ...right, frame: quietFrame(1600) }),
      sessionFault(/larger than the MTU 14\d\d/, /the peer's MTU is larger/),
    ],
    ["messages that are too short", (to) => to.send(short), sessionFault(/too short/, /cookie/)],
    [
      "control messages",
      (to) => to.send(Buffer.concat([control, Buffer.alloc(8)])),
      tunnelFault(/control messages? from addresses without a control connection/, /static/),
    ],
  ])("reports a peer that sends %s", async (_, send, [object, finding, remedy]) => {
    const to = peer();
    const found = await findings(() => send(to));
    const matching = found.filter((each) => each.object === object && finding.test(each.finding));
    expect(matching, found.map(textOf).join("\n")).toHaveLength(1);
    expect(matching[0]?.remedy).toMatch(remedy);
    // No other finding, except that no frames were received.
    const others = found.filter((each) => each !== matching[0]);
    expect(others.filter((each) => !each.finding.includes("received nothing"))).toEqual([]);
  });

  it("reports a peer that sends from another address", async () => {
    peer();
    const stranger = peer({ address: STRANGER[family] });
    const found = await findings(() => stranger.sendData(right));
    const from = new RegExp(`from unexpected source ${STRANGER[family]}( port 5000)? -> `);
    expect(found.map(textOf).join("\n")).toMatch(from);
  });

  if (encapsulation === "UDP") {
    it("reports a peer that sends from another port", async () => {
      peer();
      const moved = peer({ fromPort: 5009 });
      const found = await findings(() => moved.sendData(right));
      const from = new RegExp(`from unexpected source ${net.b[family]} port 5009 -> `);
      expect(found.map(textOf).join("\n")).toMatch(from);
    });

    it("reports a peer that sends to another port", async () => {
      const wrong = peer({ toPort: 5009 });
      const found = await findings(() => wrong.sendData(right));
      const to = new RegExp(`of ${net.b[family]} for UDP port 5009; the tunnel uses 5000`);
      expect(found.map(textOf).join("\n")).toMatch(to);
    });
  }

  it("reports nothing about correct frames", async () => {
    const to = peer();
    expect(await findings(() => to.sendData(right))).toEqual([]);
  });

  it("counts frames above the MTU as errors, not as received", async () => {
    const to = peer();
    const before = await agent.session(`shop/${name}`);
    for (let count = 0; count < 3; count++) to.sendData({ ...right, frame: quietFrame(1600) });
    to.sendData(right);
    await until("all frames are counted", async () => {
      const after = await agent.session(`shop/${name}`);
      const grown = (counter: string) =>
        (after?.counters[counter] ?? 0) - (before?.counters[counter] ?? 0);
      return grown("rxErrors") === 3 && grown("rxPackets") === 1;
    });
    const [tunnel, session, ...rest] = await agent.ask({ op: "dump" });
    expect(rest).toEqual([]);
    expect(session?.counters.rxErrors).toBeGreaterThanOrEqual(3);
    for (const counter of ["rxPackets", "txPackets"]) {
      expect(tunnel?.counters[counter], counter).toBe(session?.counters[counter]);
    }
    const [row] = await agent.ask({ op: "tunnels" });
    expect(row?.traffic.rxPackets).toBe((await agent.session(`shop/${name}`))?.counters.rxPackets);
  });

  it("shows the name that the pod gave its interface", async () => {
    // Linux 6.1 cannot rename a device that is up.
    await ip(pod(), "link", "set", "net1", "down");
    await ip(pod(), "link", "set", "net1", "name", "wan0", "up");
    await until(
      "the new name is shown",
      async () => (await agent.session(`shop/${name}`))?.interface === "wan0",
    );
    const rows = await agent.ask({ op: "dump" });
    expect(rows.map(({ interface: device }) => device)).toEqual(["", "wan0"]);
    expect(rows.map(({ sessionId, peerId }) => [sessionId, peerId])).toEqual([
      [null, id],
      [id, id + 100],
    ]);
  });
});

describe("of a managed tunnel, the doctor", () => {
  let far: TestAgent;

  const write = (mine: TestAgent, from: Host, to: Host, control: object, more: object = {}) => {
    const hello = { interval: "1s", deadAfter: "4s" };
    const tunnel = managedTunnel("branch", from, to, { hello, ...control }, more);
    mine.write("all.yaml", [tunnel, managedSession("lan", "branch")]);
  };

  beforeAll(async () => {
    agent = new TestAgent(net.a);
    far = new TestAgent(net.b);
  });

  afterAll(async () => {
    if (IS_KERNEL) await agent.teardownOrKill();
    for (const each of [agent, far]) await each.destroy();
  });

  const secretOf = (mine: TestAgent, text: string) => {
    mine.writeSecret("infra", "branch", "secret", text);
    return { secretRef: { namespace: "infra", name: "branch", key: "secret" } };
  };

  const untilFound = (what: string, finding: RegExp) =>
    until(what, async () => {
      const found = await findings(undefined, 0);
      return found.find((each) => finding.test(each.finding));
    });

  it("reports a shared secret that differs from the peer's", async () => {
    write(agent, net.a, net.b, secretOf(agent, "correct horse"), DATAPATH);
    write(far, net.b, net.a, secretOf(far, "another horse"));
    // Not in parallel: the virtual machine is slow.
    await agent.start();
    await far.start();
    const found = await untilFound("the doctor reports the secret", /secret/);
    expect(found).toMatchObject({ object: "L2tpTunnel branch", severity: "error" });
    expect(found.finding).toMatch(/^NotAuthorized: .*not signed with our shared secret/);
    expect(found.remedy).toMatch(/spec\.control\.secretRef/);
    expect(agent.condition("l2tptunnel", "branch", "Alive")).toMatchObject({
      status: "False",
      reason: "NotAuthorized",
      message: expect.stringContaining("not signed with our shared secret"),
    });
  });

  it("reports no fault at this end while no pod is attached at the peer", async () => {
    write(far, net.b, net.a, secretOf(far, "correct horse"));
    const found = await untilFound("the doctor reports the peer's inactive circuit", /^NotActive/);
    expect(found).toMatchObject({ object: "L2tpSession shop/lan", severity: "warning" });
    expect(found.remedy).toMatch(/nothing is wrong at this end: attach a pod at the peer/);
  });

  it("shows the IDs that are on the wire", async () => {
    const pairs = [
      [agent, await net.addPod("near"), "10.1.0.1/24"],
      [far, await net.addPod("far"), "10.1.0.2/24"],
    ] as const;
    for (const [mine, netns, address] of pairs) {
      await until("the pod has its interface", async () => {
        return (await add(mine, netns, "lan", address)).status === 0;
      });
    }
    const rows = await until("both sessions are established", async () => {
      const both = await Promise.all([agent.session("shop/lan"), far.session("shop/lan")]);
      const [here, there] = both;
      return here?.control?.established && there?.control?.established && ([here, there] as const);
    });
    const [here, there] = rows;
    const { sessionId, peerSessionId } = here.control?.established ?? {};
    expect(here).toMatchObject({ sessionId, peerSessionId, interface: "net1" });
    expect(there).toMatchObject({ sessionId: peerSessionId, peerSessionId: sessionId });
    const tunnels = await Promise.all([agent, far].map((mine) => mine.ask({ op: "tunnels" })));
    const [left, right] = tunnels.map(([row]) => row);
    expect(left?.tunnelId).toBe(left?.control?.localConnectionId);
    expect(right).toMatchObject({ tunnelId: left?.peerTunnelId, peerTunnelId: left?.tunnelId });
    for (const [mine, row] of [
      [agent, here],
      [far, there],
    ] as const) {
      const [, session] = await mine.ask({ op: "dump" });
      const ids = { sessionId: row.sessionId, peerId: row.peerSessionId };
      expect(session).toMatchObject({ ...ids, interface: "net1", owner: "L2tpSession shop/lan" });
    }
  });
});
