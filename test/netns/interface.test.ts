/** Mode Interface: a port, a bridge, a node interface; what is kept, and what is undone. */
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { SessionSpec, TunnelSpec } from "../../operator/api/types.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { type Host, inside, ip, link, nameOf, ping, TestNet } from "../harness/net.ts";
import { managedSession, managedTunnel, sessionObject, tunnelObject } from "../harness/objects.ts";
import { run } from "../harness/run.ts";
import { streamTcp } from "../harness/streams.ts";
import { until } from "../harness/wait.ts";

const L2TPCTL = fileURLToPath(new URL("../../bin/l2tpctl", import.meta.url));
type Attachment = NonNullable<SessionSpec["attachment"]>;

let net: TestNet;
let left: TestAgent;
let right: TestAgent;
/** The host behind a port of the left host. */
let desk: string;

beforeEach(async () => {
  net = await TestNet.create();
  left = new TestAgent(net.a);
  right = new TestAgent(net.b);
  desk = await net.addPod("desk");
  await addPort("eth1", desk, "10.1.0.1/24");
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(left.log, right.log);
  await left.destroy();
  await right.destroy();
  await net.remove();
});

/** Adds a port to the left host, with a host behind it. */
async function addPort(name: string, netns: string, address: string): Promise<void> {
  const peer = ["peer", "name", "port", "netns", nameOf(netns)];
  await ip(net.a.name, "link", "add", name, "type", "veth", ...peer);
  await ip(net.a.name, "link", "set", name, "up");
  await ip(netns, "link", "set", "port", "up");
  await ip(netns, "addr", "add", address, "dev", "port");
}

const onNode = (attachment: Partial<Attachment>, more: object = {}) => ({
  attachment: { mode: "Interface" as const, ...attachment },
  ...more,
});

function write(
  agent: TestAgent,
  remote: Host,
  session: Partial<SessionSpec> | null,
  tunnel: Partial<TunnelSpec> = {},
): void {
  const allowed = { allowedInterfaces: ["eth*", "br*", "edge*", "lo", "wire*"] };
  const one = tunnelObject("t", agent.host, remote, { ...allowed, ...tunnel });
  agent.write("all.yaml", session === null ? [one] : [one, sessionObject("lan", "t", session)]);
}

/** The right host has its own interface on the pseudowire. */
const EDGE = onNode({ interface: "edge0", create: true, addresses: ["10.1.0.2/24", "fd00::2/64"] });

async function start(session: Partial<SessionSpec>, far: Partial<SessionSpec> = EDGE) {
  write(left, net.b, session);
  write(right, net.a, far);
  await left.start();
  await right.start();
}

const crosses = (from = desk, to = "10.1.0.2") =>
  until(`frames cross from ${from}`, () => ping(from, to));

const attached = async (agent = left) => {
  const row = await agent.session("shop/lan");
  return row?.conditions.find(({ type }) => type === "Attached");
};

const hasReason = (reason: string, agent = left) =>
  until(`Attached is ${reason}`, async () => (await attached(agent))?.reason === reason);

const filters = (name: string, host = net.a) =>
  run(inside(host.name, "tc", "filter", "show", "dev", name, "ingress"));
const qdiscs = (name: string) => run(inside(net.a.name, "tc", "qdisc", "show", "dev", name));
const isPromiscuous = async (name: string) =>
  (await link(net.a.name, name))?.flags.includes("PROMISC") === true;

/** True if the port has no filter and no clsact qdisc, and is not promiscuous. */
const isClean = async (name = "eth1") =>
  (await filters(name)) === "" &&
  !(await qdiscs(name)).includes("clsact") &&
  !(await isPromiscuous(name));

describe("a port", () => {
  it("is joined, and is otherwise unchanged", async () => {
    await ip(net.a.name, "addr", "add", "203.0.113.1/24", "dev", "eth1");
    await ip(net.a.name, "link", "set", "eth1", "mtu", "1480");
    const whatStays = async () => {
      const { flags: _, addr_info, ...rest } = (await link(net.a.name, "eth1")) ?? {};
      return { ...rest, addresses: addr_info?.map(({ local }) => local) };
    };
    const before = await whatStays();
    await start(onNode({ interface: "eth1" }));
    await crosses();
    expect(await ping(desk, "10.1.0.2", { count: 20 })).toBe(true);
    expect(await whatStays()).toEqual(before);
    expect(await attached()).toMatchObject({ status: "True", reason: "Attached" });
    expect(await left.session("shop/lan")).toMatchObject({
      ...{ mode: "Interface", attachedTo: ["node:eth1"], interface: "l2tp-128" },
    });
    const table = await run([L2TPCTL, "--socket", left.socket, "sessions"]);
    expect(table).toContain("node:eth1");
    const { findings } = await left.ask({ op: "doctor", seconds: 0 });
    expect(findings.map(({ finding }) => finding)).toEqual([
      expect.stringContaining("the MTU of interface eth1 is 1480"),
    ]);
  });

  it("preserves every byte of large frames", async () => {
    await start(onNode({ interface: "eth1" }, { mtu: 1500 }), { ...EDGE, mtu: 1500 });
    await crosses();
    const from = { netns: desk, address: "10.1.0.1" };
    const { sent, received } = await streamTcp(
      from,
      { netns: net.b.netns, address: "10.1.0.2" },
      10_000_000,
    );
    expect(received).toEqual(sent);
  });

  it("forwards frames while the agent is down, and is not changed by the next agent", async () => {
    await start(onNode({ interface: "eth1" }));
    await crosses();
    const before = await filters("eth1");
    await left.kill();
    expect(await ping(desk, "10.1.0.2", { count: 10 })).toBe(true);
    left.log = "";
    await left.start();
    await left.logs("ready");
    expect(await filters("eth1")).toBe(before);
    expect(left.log).not.toContain('"actions"');
    expect(await ping(desk, "10.1.0.2", { count: 10 })).toBe(true);
  });

  it("is rejoined after manual changes, and after the datapath process has died", async () => {
    await start(onNode({ interface: "eth1" }));
    await crosses();
    await run(inside(net.a.name, "tc", "qdisc", "del", "dev", "eth1", "clsact"));
    await ip(net.a.name, "link", "set", "eth1", "promisc", "off");
    await until("it is promiscuous again", () => isPromiscuous("eth1"));
    await crosses();
    await run(inside(net.a.name, "tc", "qdisc", "del", "dev", "l2tp-128", "clsact"));
    await crosses();
    await ip(net.a.name, "link", "del", "l2tp-128");
    await crosses();
    process.kill(await left.datapathPid(), "SIGKILL");
    await crosses();
    // The port itself is deleted and recreated.
    await ip(net.a.name, "link", "del", "eth1");
    await hasReason("NoInterface");
    await addPort("eth1", desk, "10.1.0.1/24");
    await crosses();
  });

  it("is restored at the end, also if its filter was deleted by hand", async () => {
    await start(onNode({ interface: "eth1" }));
    await crosses();
    await run(inside(net.a.name, "tc", "qdisc", "del", "dev", "eth1", "clsact"));
    await until("the port is joined again", async () => (await filters("eth1")).includes("mirred"));
    write(left, net.b, null);
    await until("the port is clean", () => isClean());
  });

  it.each<[string, () => Promise<void>]>([
    ["the session", async () => write(left, net.b, null)],
    ["its interface", async () => write(left, net.b, onNode({ interface: "eth2" }))],
    [
      "the permission",
      async () => write(left, net.b, onNode({ interface: "eth1" }), { allowedInterfaces: [] }),
    ],
    ["everything, by --teardown", async () => void (await left.teardownOrKill())],
  ])("is restored when %s is removed", async (_what, change) => {
    await start(onNode({ interface: "eth1" }));
    await crosses();
    expect(await isClean()).toBe(false);
    await change();
    await until("the port is clean", () => isClean());
    expect(await link(net.a.name, "eth1")).toMatchObject({ flags: expect.arrayContaining(["UP"]) });
  });

  it("is restored when its session was deleted while the agent was down", async () => {
    await start(onNode({ interface: "eth1" }));
    await crosses();
    await left.kill();
    write(left, net.b, null);
    await left.start();
    await until("the port is clean", () => isClean());
  });

  it("keeps filters and promiscuity that l2tp-cni did not set", async () => {
    await ip(net.a.name, "link", "set", "eth1", "promisc", "on");
    await run(inside(net.a.name, "tc", "qdisc", "add", "dev", "eth1", "clsact"));
    const theirs = ["bpf", "bytecode", "1,6 0 0 0"];
    const at = ["dev", "eth1", "ingress", "pref", "9", "protocol", "all"];
    await run(inside(net.a.name, "tc", "filter", "add", ...at, ...theirs));
    const before = await filters("eth1");
    await start(onNode({ interface: "eth1" }));
    await crosses();
    write(left, net.b, null);
    await until("our filter is deleted", async () => (await filters("eth1")) === before);
    expect(await isPromiscuous("eth1")).toBe(true);
    expect(await qdiscs("eth1")).toContain("clsact");
  });

  it("stays joined while the manifest is invalid, also when an agent starts meanwhile", async () => {
    await start(onNode({ interface: "eth1" }));
    await crosses();
    left.write("all.yaml", "]");
    await left.kill();
    await left.start();
    expect(await ping(desk, "10.1.0.2", { count: 10 })).toBe(true);
    write(left, net.b, null);
    await until("the port is clean", () => isClean());
  });

  it("is joined on the fast path", async () => {
    const tunnel = { udpChecksum: false, fastPath: true };
    write(left, net.b, onNode({ interface: "eth1" }), tunnel);
    write(right, net.a, EDGE, tunnel);
    await left.start();
    await right.start();
    await crosses();
    await until("the fast path has the session", async () => {
      return (await left.session("shop/lan"))?.fastPath === true;
    });
    expect(await ping(desk, "10.1.0.2", { count: 20 })).toBe(true);
    const from = { netns: desk, address: "10.1.0.1" };
    const to = { netns: net.b.netns, address: "10.1.0.2" };
    const { sent, received } = await streamTcp(from, to, 5_000_000);
    expect(received).toEqual(sent);
    write(left, net.b, null, tunnel);
    await until("the port is clean", () => isClean());
  });

  it("passes the tags of its VLANs", async () => {
    await start(onNode({ interface: "eth1" }), onNode({ interface: "edge0", create: true }));
    await hasReason("Attached", right);
    const dumped = run(
      inside(
        net.b.name,
        "timeout",
        "30",
        "tcpdump",
        "-i",
        "edge0",
        "-c",
        "1",
        "-n",
        "-e",
        "vlan",
        "7",
      ),
    );
    const text = Buffer.concat([
      Buffer.from("ffffffffffff0200000000018100000788b5", "hex"),
      Buffer.alloc(46),
    ]);
    const { FramePort } = await import("../harness/frames.ts");
    const port = new FramePort(desk, "port");
    const timer = setInterval(() => port.send(text), 100);
    try {
      expect(await dumped).toContain("vlan 7");
    } finally {
      clearInterval(timer);
      port.close();
    }
  });
});

describe("other interfaces", () => {
  it("can be above a port", async () => {
    await ip(net.a.name, "link", "add", "link", "eth1", "name", "eth1m", "type", "macvlan");
    await ip(net.a.name, "link", "set", "eth1m", "up");
    await start(onNode({ interface: "eth1m" }));
    // The port keeps frames that match no macvlan's MAC address.
    const mac = (await link(net.b.name, "edge0"))?.address ?? "";
    await ip(net.a.name, "link", "set", "eth1m", "address", mac);
    await crosses();
  });

  it("can be a bridge with several pseudowires as ports", async () => {
    await ip(net.a.name, "link", "add", "br0", "type", "bridge");
    await ip(net.a.name, "link", "set", "br0", "up");
    await ip(net.a.name, "link", "set", "eth1", "master", "br0");
    await start(onNode({ interface: "br0" }));
    await crosses();
    expect((await link(net.a.name, "l2tp-128"))?.master).toBe("br0");
    expect(await filters("eth1")).toBe("");
    // An administrator may give it any alias; and a port of it stays without a change in each pass.
    await ip(net.a.name, "link", "set", "br0", "alias", "the lab");
    await crosses();
    left.log = "";
    await ip(net.a.name, "link", "set", "l2tp-128", "nomaster");
    await left.logs("reconciled");
    await crosses();
    await left.kill();
    left.log = "";
    await left.start();
    await left.logs("ready");
    // Longer than passes are apart.
    await left.ask({ op: "doctor", seconds: 3 });
    expect(left.log).not.toContain("reconciled");
    await crosses();
    const ids = { sessionId: 129, peerSessionId: 129 };
    left.write("second.yaml", [sessionObject("second", "t", onNode({ interface: "br0" }, ids))]);
    await until(
      "the second device is a port",
      async () => (await link(net.a.name, "l2tp-129"))?.master === "br0",
    );
    left.remove("second.yaml");
    write(left, net.b, null);
    await until("no device is left", async () => !(await link(net.a.name, "l2tp-128")));
    expect((await link(net.a.name, "eth1"))?.master).toBe("br0");
  });

  it("can be the pseudowire itself, with addresses", async () => {
    await start(onNode({ interface: "eth1" }));
    await crosses();
    const edge = await link(net.b.name, "edge0");
    expect(edge?.addr_info?.map(({ local }) => local)).toEqual(
      expect.arrayContaining(["10.1.0.2", "fd00::2", expect.stringMatching(/^fe80:/)]),
    );
    expect(await right.session("shop/lan")).toMatchObject({
      ...{ interface: "edge0", attachedTo: ["node:edge0"] },
    });
    // An administrator's address is kept, and a deleted address of ours is restored.
    await ip(net.b.name, "addr", "del", "10.1.0.2/24", "dev", "edge0");
    await crosses();
    await ip(net.b.name, "addr", "add", "10.1.0.77/24", "dev", "edge0");
    await right.kill();
    await right.start();
    const addresses = async () =>
      (await link(net.b.name, "edge0"))?.addr_info?.map(({ local }) => local) ?? [];
    write(right, net.a, onNode({ interface: "edge0", create: true, addresses: ["10.1.0.3/24"] }));
    await crosses(desk, "10.1.0.3");
    await until(
      "our old address is deleted",
      async () => !(await addresses()).includes("10.1.0.2"),
    );
    await until("the administrator's address is kept", async () =>
      (await addresses()).includes("10.1.0.77"),
    );
    expect((await link(net.b.name, "edge0"))?.ifindex).toBe(edge?.ifindex);
    // The interface is renamed.
    write(right, net.a, onNode({ interface: "edge1", create: true, addresses: ["10.1.0.3/24"] }));
    await until(
      "the device has the name",
      async () => (await link(net.b.name, "edge1")) !== undefined,
    );
    await crosses(desk, "10.1.0.3");
    write(right, net.a, null);
    await until("it is gone", async () => (await link(net.b.name, "edge1")) === undefined);
  });

  it("can be a TUN device of the node", async () => {
    const type = { pseudowireType: "IP" as const };
    const at = (address: string) =>
      onNode({ interface: "edge0", create: true, addresses: [address] });
    await start({ ...at("10.1.0.9/24"), ...type }, { ...at("10.1.0.2/24"), ...type });
    await crosses(net.a.netns);
    expect((await link(net.a.name, "edge0"))?.link_type).toBe("none");
  });

  it("change with the manifest, also from and to pods", async () => {
    await start(onNode({ interface: "eth1" }));
    await crosses();
    const pod = await net.addPod("pod");
    const config = {
      ...{ cniVersion: "1.0.0", name: "n", type: "l2tp", session: "shop/lan", socket: left.socket },
      runtimeConfig: { ips: ["10.1.0.5/24"] },
    };
    const call = { command: "ADD", netns: pod, containerId: "c", config } as const;
    const refused = await cni(net.a, call);
    expect(refused.stdout).toContain("is for interface eth1 of the node");
    write(left, net.b, {});
    await until("the port is clean", () => isClean());
    expect((await cni(net.a, call)).status).toBe(0);
    await crosses(pod);
    // The pod keeps the session until it is deleted.
    write(left, net.b, onNode({ interface: "eth1" }));
    await until(
      "the mode is set",
      async () => (await left.session("shop/lan"))?.mode === "Interface",
    );
    expect(await ping(pod, "10.1.0.2", { count: 5 })).toBe(true);
    await cni(net.a, { ...call, command: "DEL" });
    await crosses();
  });
});

describe("an interface that cannot be used", () => {
  it.each<[string, string, Partial<Attachment>, string, string]>([
    ["does not exist", "", { interface: "eth9" }, "NoInterface", "create it"],
    ["is the loopback", "", { interface: "lo" }, "NotEthernet", "cannot carry Ethernet frames"],
    ["carries the tunnel", "", { interface: "wire1" }, "InterfaceIsUnderlay", "L2tpTunnel t"],
    ["exists already", "", { interface: "eth1", create: true }, "NameInUse", "omit create"],
  ])("that %s has a reason", async (_what, _setup, attachment, reason, text) => {
    await start(onNode(attachment));
    await hasReason(reason);
    expect((await attached())?.message).toContain(text);
    const { findings } = await left.ask({ op: "doctor", seconds: 0 });
    expect(findings.map(({ finding }) => finding).join()).toContain(text);
    expect(await ping(net.a.name, net.b.ipv4)).toBe(true);
    expect(await isClean()).toBe(true);
  });

  it("is rejected if it is a port of a bridge, or belongs to another session", async () => {
    await ip(net.a.name, "link", "add", "br0", "type", "bridge");
    await ip(net.a.name, "link", "set", "eth1", "master", "br0");
    await start(onNode({ interface: "eth1" }));
    await hasReason("InterfaceHasMaster");
    expect((await attached())?.message).toContain("use br0");
    await ip(net.a.name, "link", "set", "eth1", "nomaster");
    await crosses();
    const ids = { sessionId: 129, peerSessionId: 129 };
    // Its name sorts first, but the other session already has the interface.
    const other = onNode({ interface: "eth1" }, ids);
    left.write("second.yaml", [
      sessionObject("a", "t", other),
      sessionObject("b", "t", { ...other, sessionId: 130, peerSessionId: 130 }, "other"),
    ]);
    const conditionOf = async (key: string, type: string) =>
      (await left.session(key))?.conditions.find((one) => one.type === type)?.reason;
    await until(
      "the session of the same tenant is rejected",
      async () => (await conditionOf("shop/a", "Attached")) === "InterfaceInUse",
    );
    await until(
      "the session of another tenant is rejected",
      async () => (await conditionOf("other/b", "Accepted")) === "Conflict",
    );
    expect(await ping(desk, "10.1.0.2", { count: 5 })).toBe(true);
    await left.kill();
    await left.start();
    await hasReason("Attached");
  });

  it("is rejected if it is the bridge of the underlay, or a port of that bridge", async () => {
    const { a } = net;
    await ip(a.name, "link", "add", "br0", "type", "bridge");
    await ip(a.name, "addr", "flush", "dev", a.device);
    await ip(a.name, "link", "set", a.device, "master", "br0");
    await ip(a.name, "addr", "add", `${a.ipv4}/24`, "dev", "br0");
    await ip(a.name, "link", "set", "br0", "up");
    await start(onNode({ interface: "br0" }));
    await hasReason("InterfaceIsUnderlay");
    // A port of the underlay's bridge would also cut off the tunnel.
    write(left, net.b, onNode({ interface: a.device }));
    await until(
      "the port is rejected",
      async () => (await attached())?.message.includes(a.device) === true,
    );
    expect(await attached()).toMatchObject({ reason: "InterfaceIsUnderlay" });
  });

  it("is rejected if the tunnel does not allow it", async () => {
    write(left, net.b, onNode({ interface: "eth1" }), { allowedInterfaces: ["eth10", "eth.*"] });
    await left.start();
    const row = await left.session("shop/lan");
    expect(row?.conditions[0]).toMatchObject({ status: "False", reason: "InterfaceNotAllowed" });
    expect(await isClean()).toBe(true);
    write(left, net.b, onNode({ interface: "eth1" }));
    await until("the port is joined", async () => !(await isClean()));
  });

  it("is released immediately when it becomes the underlay", async () => {
    await start(onNode({ interface: "eth1" }));
    await crosses();
    await ip(desk, "addr", "add", "192.0.2.2/32", "dev", "port");
    await ip(net.a.name, "route", "add", "192.0.2.2/32", "dev", "eth1");
    await hasReason("InterfaceIsUnderlay");
    await until("the port is clean", () => isClean());
  });
});

describe("in a managed tunnel", () => {
  const control = { mode: "Managed", hello: { interval: "1s", deadAfter: "3s" } };
  const allowed = { allowedInterfaces: ["*"], datapath: "Userspace" };

  it("signals the port's carrier to the peer, and follows the peer's circuit status", async () => {
    const { a, b } = net;
    left.write("all.yaml", [
      managedTunnel("t", a, b, control, allowed),
      managedSession("lan", "t", onNode({ interface: "eth1" })),
    ]);
    right.write("all.yaml", [
      managedTunnel("t", b, a, control, allowed),
      managedSession("lan", "t", EDGE),
    ]);
    await left.start();
    await right.start();
    await crosses();
    const established = async (agent: TestAgent) =>
      (await agent.session("shop/lan"))?.conditions.find(({ type }) => type === "Established")
        ?.reason;
    await ip(desk, "link", "set", "port", "down");
    await hasReason("NoCarrier");
    await until("the peer is informed", async () => (await established(right)) === "NotActive");
    await until(
      "its own interface has no carrier",
      async () => (await link(b.name, "edge0"))?.flags.includes("NO-CARRIER") === true,
    );
    await ip(desk, "link", "set", "port", "up");
    await hasReason("Attached");
    await crosses();
    await until("the peer is informed", async () => (await established(right)) === "Active");
  });
});
