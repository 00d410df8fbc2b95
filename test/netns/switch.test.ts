/** Sessions that are switched to each other, with QEMU or our agents as peers. */
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { SessionSpec } from "../../operator/api/types.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { type Host, ip, link, nameOf, ping, TestNet } from "../harness/net.ts";
import { managedSession, sessionObject, tunnelObject } from "../harness/objects.ts";
import { startQemu } from "../harness/qemu.ts";
import { Background, run } from "../harness/run.ts";
import { streamTcp } from "../harness/streams.ts";
import {
  type Middle,
  managedBy,
  middleOf,
  qemuWire,
  switchedSession,
  switchTo,
  variantTunnel,
} from "../harness/switch.ts";
import type { Variant } from "../harness/variants.ts";
import { RawPeer, taggedFrame } from "../harness/vlan.ts";
import { until } from "../harness/wait.ts";

const L2TPCTL = fileURLToPath(new URL("../../bin/l2tpctl", import.meta.url));
const [LEFT, RIGHT] = ["shop/left", "shop/right"] as const;

let net: TestNet;
let c: Host;
let middle: Middle;
let a: TestAgent;
const agents: TestAgent[] = [];
const background = new Background();

beforeEach(async () => {
  net = await TestNet.create();
  c = await net.addHost();
  middle = middleOf(net);
  a = agentOf(net.a);
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(...agents.map(({ log }) => log));
  await background.stopAll();
  for (const agent of agents.splice(0)) await agent.destroy();
  await net.remove();
});

function agentOf(host: Host): TestAgent {
  const agent = new TestAgent(host);
  agents.push(agent);
  return agent;
}

const switched = (agent: TestAgent, key: string) => agent.condition("l2tpsession", key, "Switched");
const countersOf = async (agent: TestAgent, key: string) =>
  (await agent.session(key))?.counters ?? {};

const PLAIN: Variant = { encapsulation: "UDP", family: 4, cookieBytes: 0, sublayer: "Default" };
const WIRES = (["UDP", "IP"] as const).flatMap((encapsulation) =>
  ([4, 6] as const).map((family) => ({ encapsulation, family })),
);
/** Each encapsulation with each other. Cookies and sublayers differ between the sides. */
const PAIRS = WIRES.flatMap((one, row) =>
  WIRES.map((other, column): readonly [Variant, Variant] => [
    { ...one, cookieBytes: ([0, 4, 8] as const)[(row + column) % 3] ?? 0, sublayer: "Default" },
    { ...other, cookieBytes: ([4, 8, 0] as const)[(row + column) % 3] ?? 0, sublayer: "None" },
  ]),
);
const wordsOf = ({ encapsulation, family, cookieBytes, sublayer }: Variant) =>
  `${encapsulation} over IPv${family}, cookies of ${cookieBytes}, sublayer ${sublayer}`;

/** The objects of a switch between two static peers. */
function writeStatic(
  left: Variant,
  right: Variant,
  change: readonly [Partial<SessionSpec>, Partial<SessionSpec>] = [{}, {}],
): void {
  const ids = (sessionId: number) => ({ sessionId, peerSessionId: sessionId + 1 });
  a.write("all.yaml", [
    variantTunnel("l", middle.left, net.b, left, 1),
    variantTunnel("r", middle.right, c, right, 2),
    switchedSession("left", "l", "right", left, { ...ids(100), ...change[0] }),
    switchedSession("right", "r", "left", right, { ...ids(200), ...change[1] }),
  ]);
}

async function startQemus(left: Variant, right: Variant): Promise<void> {
  await startQemu(background, net.b, "q", qemuWire(net.b, middle.left, left, 100));
  await startQemu(background, c, "q", qemuWire(c, middle.right, right, 200));
  for (const [name, host] of [
    [net.b.name, 2],
    [c.name, 3],
  ] as const) {
    await ip(name, "addr", "add", `10.1.0.${host}/24`, "dev", "q");
    await ip(name, "link", "set", "q", "mtu", "1300", "up");
  }
}

describe("between two QEMUs", () => {
  it.each(PAIRS.map(([one, other]) => [wordsOf(one), wordsOf(other), one, other] as const))(
    "forwards frames of every size from %s to %s",
    async (_from, _to, one, other) => {
      writeStatic(one, other);
      await a.start();
      await startQemus(one, other);
      await until("frames cross", () => ping(net.b.name, "10.1.0.3"));
      for (const size of [0, 1, 56, 500, 1272]) {
        expect(await ping(net.b.name, "10.1.0.3", { count: 5, size })).toBe(true);
      }
      const from = { netns: net.b.netns, address: "10.1.0.2" };
      const to = { netns: c.netns, address: "10.1.0.3" };
      const { sent, received } = await streamTcp(from, to, 1_000_000);
      expect(received).toEqual(sent);
      const [left, right] = [await countersOf(a, LEFT), await countersOf(a, RIGHT)];
      for (const counters of [left, right]) {
        expect(counters).toMatchObject({ rxErrors: 0, txErrors: 0, rxNoDevice: 0 });
      }
      await until("the pair is reported", () => switched(a, LEFT)?.status === "True");
      // The node has no device of ours.
      expect(await ip(net.a.name, "link")).not.toContain("l2tp-");
    },
  );

  it("lists the pair, and the doctor names the silent side", async () => {
    writeStatic(PLAIN, PLAIN);
    await a.start();
    await startQemus(PLAIN, PLAIN);
    await until("frames cross", () => ping(net.b.name, "10.1.0.3"));
    const shown = await run([L2TPCTL, "--socket", a.socket, "sessions"]);
    expect(shown).toMatch(/shop\/left .*switched to shop\/right/);
    expect(shown).toMatch(/shop\/right .*switched to shop\/left/);
    expect((await a.ask({ op: "doctor", seconds: 1 })).findings).toEqual([]);
    await background.stopAll();
    await startQemu(background, net.b, "q", qemuWire(net.b, middle.left, PLAIN, 100));
    await ip(net.b.name, "link", "set", "q", "up");
    await ip(net.b.name, "addr", "add", "10.1.0.2/24", "dev", "q");
    await a.kill();
    process.kill(await a.datapathPid(), "SIGKILL");
    await a.start();
    await until("frames of the left arrive", async () => {
      await ping(net.b.name, "10.1.0.3");
      return ((await countersOf(a, LEFT)).rxPackets ?? 0) > 0;
    });
    const { findings } = await a.ask({ op: "doctor", seconds: 1 });
    const silent = findings.filter(({ finding }) => finding.includes("received nothing"));
    expect(silent.map(({ object }) => object)).toEqual(["L2tpSession shop/right"]);
  });
});

it("pushes and pops the tag between Ethernet and EthernetVLAN", async () => {
  const none = { ...PLAIN, sublayer: "None" } as const;
  const right = { pseudowireType: "EthernetVLAN", vlan: { id: 7, peerId: 300 } } as const;
  writeStatic(none, none, [{}, right]);
  await a.start();
  const peers = [new RawPeer(net.b, net.a, 100), new RawPeer(c, middle.right, 200)] as const;
  try {
    peers[0].send(taggedFrame("", 1));
    // A pushed tag lengthens the frame.
    await peers[1].hears(taggedFrame("8100012c", 1).padEnd(136, "0"));
    for (const [tags, mark] of [
      ["", 2],
      ["81000007", 3],
      ["8100012c", 4],
    ] as const) {
      peers[1].send(taggedFrame(tags, mark));
    }
    await peers[0].hears(taggedFrame("", 4).slice(0, 120));
    expect(peers[0].heard()).toHaveLength(2);
    const counters = { rxUntagged: 1, rxErrors: 1, rxPackets: 2 };
    expect(await countersOf(a, RIGHT)).toMatchObject(counters);
  } finally {
    for (const peer of peers) peer.close();
  }
});

describe("between pods of our own", () => {
  let ends: [TestAgent, TestAgent];
  let pods: [string, string];

  beforeEach(async () => {
    ends = [agentOf(net.b), agentOf(c)];
    pods = [await net.addPod("left"), await net.addPod("right")];
  });

  function writeManaged(left: object = {}, right: object = {}): void {
    a.write("all.yaml", [
      managedBy("l", middle.left, net.b),
      managedBy("r", middle.right, c),
      managedSession("left", "l", { remoteEndId: "x", ...switchTo("right"), ...left }),
      managedSession("right", "r", { remoteEndId: "y", ...switchTo("left"), ...right }),
    ]);
    const [one, other] = ends;
    one.write("all.yaml", [
      managedBy("t", net.b, middle.left),
      managedSession("lan", "t", { remoteEndId: "x", ...sequencingOf(left) }),
    ]);
    other.write("all.yaml", [
      managedBy("t", c, middle.right),
      managedSession("lan", "t", { remoteEndId: "y", ...sequencingOf(right) }),
    ]);
  }

  const sequencingOf = ({ sequencing }: { sequencing?: object }) =>
    sequencing === undefined ? {} : { sequencing };

  async function attach(index: 0 | 1, command: "ADD" | "DEL" = "ADD"): Promise<void> {
    const { host, socket } = ends[index];
    const rest = {
      session: "shop/lan",
      socket,
      runtimeConfig: { ips: [`10.1.0.${index + 1}/24`] },
    };
    const config = { cniVersion: "1.0.0", name: "switch", type: "l2tp", ...rest };
    const netns = pods[index];
    const answer = await cni(host, { command, netns, containerId: nameOf(netns), config });
    expect(answer.status, answer.stdout).toBe(0);
  }

  const established = (index: 0 | 1) =>
    ends[index].condition("l2tpsession", "shop/lan", "Established");

  async function startAll(): Promise<void> {
    for (const agent of agents) await agent.start();
  }

  async function startManaged(left: object = {}, right: object = {}): Promise<void> {
    writeManaged(left, right);
    await startAll();
    await attach(0);
    await attach(1);
    await until("frames cross", () => ping(pods[0], "10.1.0.2"));
  }

  it("forwards large frames unsegmented, with few system calls", async () => {
    const both = { sequencing: { send: true, receive: true, reorderTimeout: "20ms" } };
    await startManaged(both);
    const wire = async () => {
      const json = await ip(net.a.name, "-j", "-s", "link", "show", c.device);
      const [found] = JSON.parse(json) as [{ stats64: { tx: { packets: number } } }];
      return found.stats64.tx.packets;
    };
    const before = [await wire(), (await countersOf(a, RIGHT)).txPackets ?? 0] as const;
    const from = { netns: pods[0], address: "10.1.0.1" };
    const to = { netns: pods[1], address: "10.1.0.2" };
    const { sent, received } = await streamTcp(from, to, 30_000_000);
    expect(received).toEqual(sent);
    const messages = (await wire()) - before[0];
    const datagrams = ((await countersOf(a, RIGHT)).txPackets ?? 0) - before[1];
    expect(datagrams).toBeGreaterThan(20_000);
    // Each message has several datagrams, and costs at most one system call.
    expect(messages).toBeLessThan(datagrams / 3);
    console.log(`switch: ${(messages / 30).toFixed(1)} messages a megabyte`);
    expect(await countersOf(a, LEFT)).toMatchObject({ rxErrors: 0, rxSeqDiscards: 0 });
  });

  it("relays the circuit status and the ending of the other side", async () => {
    await startManaged();
    await attach(1, "DEL");
    await until(
      "the left learns that the right has no pod",
      () => established(0)?.reason === "NotActive",
    );
    await attach(1);
    await until(
      "the left learns that the right has a pod",
      () => established(0)?.status === "True",
    );
    await until("frames cross again", () => ping(pods[0], "10.1.0.2"));
    // The right ends its session. The left's session ends too, and is reestablished without an active circuit.
    ends[1].write("all.yaml", [managedBy("t", c, middle.right)]);
    await until(
      "the left is established without an active circuit",
      () => established(0)?.reason === "NotActive",
    );
    writeManaged();
    await until("frames cross once more", () => ping(pods[0], "10.1.0.2"));
    await ends[1].kill();
    process.kill(await ends[1].datapathPid(), "SIGKILL");
    await until("the left learns that the right is lost", () => established(0)?.status === "False");
  });

  it("rejects a loop, and reports it", async () => {
    const both = [
      managedSession("one", "t", { remoteEndId: "1", ...switchTo("two") }),
      managedSession("two", "t", { remoteEndId: "2", ...switchTo("one") }),
    ];
    a.write("all.yaml", [managedBy("t", middle.left, net.b), ...both]);
    ends[0].write("all.yaml", [managedBy("t", net.b, middle.left), ...both]);
    await startAll();
    await until("one of the two sessions is rejected", () =>
      [a, ends[0]].some((agent) =>
        ["one", "two"].some((name) =>
          agent
            .condition("l2tpsession", `shop/${name}`, "Established")
            ?.message.includes("loop detected"),
        ),
      ),
    );
  });

  it("joins a managed session to a static one, and survives a restart of agent and process", async () => {
    writeManaged();
    const ids = { sessionId: 300, peerSessionId: 301 };
    const crossed = { sessionId: 301, peerSessionId: 300 };
    a.write("all.yaml", [
      managedBy("l", middle.left, net.b),
      variantTunnel("r", middle.right, c, PLAIN, 2),
      managedSession("left", "l", { remoteEndId: "x", ...switchTo("right") }),
      switchedSession("right", "r", "left", PLAIN, ids),
    ]);
    ends[1].write("all.yaml", [
      variantTunnel("t", c, middle.right, PLAIN, 2),
      sessionObject("lan", "t", crossed),
    ]);
    await startAll();
    await attach(0);
    await attach(1);
    await until("frames cross", () => ping(pods[0], "10.1.0.2"));
    // The agent writes the status a moment after the process forwards frames.
    await until("the circuit is reported", () => established(0)?.status === "True");
    await a.kill();
    expect(await ping(pods[0], "10.1.0.2", { count: 3 })).toBe(true);
    process.kill(await a.datapathPid(), "SIGKILL");
    await a.start();
    await until("frames cross again", () => ping(pods[0], "10.1.0.2"));
  });
});

describe("an invalid switch", () => {
  const tunnels = () => [
    variantTunnel("l", middle.left, net.b, PLAIN, 1),
    variantTunnel("r", middle.right, c, PLAIN, 2),
  ];
  let id = 500;
  const one = (
    name: string,
    change: Partial<SessionSpec>,
    tunnel = "l",
    namespace = "shop",
  ): object => {
    id += 2;
    const ids = { sessionId: id, peerSessionId: id };
    return sessionObject(name, tunnel, { ...ids, ...change }, namespace);
  };
  const IP = { pseudowireType: "IP" } as const;

  it("has a reason, and does not affect other switches", async () => {
    const other = { attachment: { mode: "Switch", switchTo: { namespace: "bank", name: "far" } } };
    writeStatic(PLAIN, PLAIN);
    a.write("bad.yaml", [
      tunnelObject("elsewhere", { ...net.a, name: "other" }, net.b),
      one("itself", switchTo("itself")),
      one("gone", switchTo("nothing")),
      one("here", switchTo("there")),
      one("there", switchTo("here"), "elsewhere"),
      one("near", other as Partial<SessionSpec>),
      one(
        "far",
        { attachment: { mode: "Switch", switchTo: { namespace: "shop", name: "near" } } },
        "r",
        "bank",
      ),
      one("ring1", switchTo("ring2")),
      one("ring2", switchTo("ring3")),
      one("ring3", switchTo("ring1")),
      one("ethernet", switchTo("datagrams")),
      one("datagrams", { ...IP, ...switchTo("ethernet") }, "r"),
      one("third", switchTo("left")),
      one("podless", switchTo("pod")),
      one("pod", {}, "r"),
      one("broken", switchTo("refused")),
      one("refused", { ...switchTo("broken"), pseudowireType: "EthernetVLAN" }, "r"),
    ]);
    await a.start();
    await startQemus(PLAIN, PLAIN);
    await until("frames cross", () => ping(net.b.name, "10.1.0.3"));
    const accepted = a.condition("l2tpsession", "shop/itself", "Accepted");
    expect(accepted).toMatchObject({ status: "False", reason: "Invalid" });
    expect(accepted?.message).toContain("is the session itself");
    for (const [key, reason, words] of [
      ["shop/gone", "NoSwitchPartner", "no L2tpSession shop/nothing"],
      ["shop/here", "OtherNode", "belongs to node other"],
      ["shop/near", "SwitchNotAllowed", "add shop to its spec.attachment.allowSwitchFrom"],
      ["bank/far", "SwitchNotAllowed", "does not allow"],
      ["shop/ring1", "NotMutual", "is switched to shop/ring3"],
      ["shop/ring2", "NotMutual", "is switched to shop/ring1"],
      ["shop/ring3", "NotMutual", "is switched to shop/ring2"],
      ["shop/ethernet", "TypesDiffer", "has IP"],
      ["shop/datagrams", "TypesDiffer", "has Ethernet"],
      ["shop/third", "NotMutual", "is switched to shop/right"],
      ["shop/podless", "NotMutual", "is not in mode Switch"],
      ["shop/broken", "PartnerRefused", "shop/refused is not programmed: spec.vlan"],
    ] as const) {
      const condition = switched(a, key);
      expect(condition, key).toMatchObject({ status: "False", reason });
      expect(condition?.message, key).toContain(words);
    }
    expect(await ping(net.b.name, "10.1.0.3", { count: 5 })).toBe(true);
  });

  it("is valid between namespaces if both sessions allow it", async () => {
    const [namespace, allowSwitchFrom] = ["bank", ["shop"]];
    a.write("all.yaml", [
      ...tunnels(),
      one(
        "near",
        switchTo("far", { switchTo: { namespace, name: "far" }, allowSwitchFrom: ["bank"] }),
      ),
      one(
        "far",
        switchTo("near", { switchTo: { namespace: "shop", name: "near" }, allowSwitchFrom }),
        "r",
        "bank",
      ),
    ]);
    await a.start();
    for (const key of ["bank/far", "shop/near"]) {
      await until("both are switched", () => switched(a, key)?.status === "True");
    }
  });

  it("is a session with a pod, or a pod with a switched session", async () => {
    const pod = await net.addPod("pod");
    const add = (session: string, command: "ADD" | "DEL" = "ADD") => {
      const rest = { session, socket: a.socket, runtimeConfig: { ips: ["10.1.0.9/24"] } };
      const config = { cniVersion: "1.0.0", name: "switch", type: "l2tp", ...rest };
      return cni(net.a, { command, netns: pod, containerId: nameOf(pod), config });
    };
    const ids = { sessionId: 100, peerSessionId: 101 };
    const right = switchedSession("right", "r", "left", PLAIN, {
      sessionId: 200,
      peerSessionId: 201,
    });
    a.write("all.yaml", [...tunnels(), sessionObject("left", "l", ids), right]);
    await a.start();
    expect((await add("shop/left")).status).toBe(0);
    writeStatic(PLAIN, PLAIN);
    await until("the change is rejected", () => {
      const programmed = a.condition("l2tpsession", LEFT, "Programmed");
      return programmed?.reason === "PodAttached" && programmed.message.includes("delete the pod");
    });
    expect(await link(pod, "net1")).toBeDefined();
    expect(switched(a, RIGHT)?.reason).toBe("PartnerRefused");
    expect((await add("shop/left", "DEL")).status).toBe(0);
    await until("the sessions are switched", () => switched(a, LEFT)?.status === "True");
    const refused = await add("shop/left");
    expect(refused.status).not.toBe(0);
    expect(refused.stdout).toContain("in mode Switch");
  });
});
