/**
 * After ADD the pod owns its interface: the pod's changes stay, and frames cross. Runs again on the fast path, and
 * inside the virtual machine, with the kernel datapath.
 */
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { DatapathClient } from "../../datapath/userspace/client.ts";
import { TestAgent } from "../harness/agent.ts";
import { type CniAnswer, cni, REFERENCE_PLUGINS } from "../harness/cni.ts";
import { FramePort } from "../harness/frames.ts";
import { type Host, inside, linksOf, nameOf, ping, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { run } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

const IS_KERNEL = process.env.L2TP_TEST_DATAPATH === "Kernel";
const DATAPATH = IS_KERNEL ? { datapath: "Kernel" as const } : {};

let net: TestNet;
let agent: TestAgent;
let peer: TestAgent;
let pod: string;
let far: string;
let count = 0;

function objects(local: Host, remote: Host): object[] {
  const session = (name: string, sessionId: number, more: object = {}) =>
    sessionObject(name, "branch", { sessionId, peerSessionId: sessionId, ...more });
  return [
    tunnelObject("branch", local, remote, DATAPATH),
    session("lan", 128),
    session("wan", 129),
    session("hub", 130, { attachment: { mode: "Bridge" } }),
    session("quiet", 131, { attachment: { announce: false } }),
  ];
}

beforeAll(async () => {
  net = await TestNet.create({ aIsInitial: IS_KERNEL });
  agent = new TestAgent(net.a);
  peer = new TestAgent(net.b);
  agent.write("all.yaml", objects(net.a, net.b));
  peer.write("all.yaml", objects(net.b, net.a));
  await Promise.all([agent.start(), peer.start()]);
});

afterAll(async () => {
  if (IS_KERNEL) await agent?.teardownOrKill();
  await agent?.destroy();
  await peer?.destroy();
  await net?.remove();
});

beforeEach(async () => {
  pod = await net.addPod(`pod${count}`);
  far = await net.addPod(`far${count++}`);
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(agent.log);
  for (const netns of [pod, far]) await net.removePod(netns);
  for (const mine of [agent, peer]) {
    await mine.ask({ op: "gc", network: "branch", valid: [], before: new Date().toISOString() });
  }
});

const config = (mine: TestAgent, session: string, address: string, more: object = {}) => ({
  cniVersion: "1.0.0",
  name: "branch",
  type: "l2tp",
  session: `shop/${session}`,
  socket: mine.socket,
  runtimeConfig: { ips: address === "" ? [] : [address] },
  ...more,
});

const call = (command: string, session = "lan", more: object = {}, netns = pod) =>
  cni(net.a, { command, netns, config: config(agent, session, "10.1.0.1/24", more) });

function expectOk(answer: CniAnswer): CniAnswer {
  expect(answer, answer.stdout + answer.stderr).toMatchObject({ status: 0 });
  return answer;
}

const crosses = (netns = pod) => until("frames cross", () => ping(netns, "10.1.0.2"));

/** Attaches both ends, and waits until frames cross. @returns ADD's answer */
async function attach(session = "lan"): Promise<CniAnswer> {
  const there = config(peer, session, "10.1.0.2/24");
  expectOk(await cni(net.b, { command: "ADD", netns: far, config: there }));
  const added = expectOk(await call("ADD", session));
  await crosses();
  return added;
}

const here = (netns: string, commands: string) => run(inside(nameOf(netns), "sh", "-ec", commands));

interface Shown {
  readonly ifname: string;
  readonly ifindex: number;
  readonly flags: readonly string[];
  readonly addr_info: readonly { readonly scope: string; readonly local: string }[];
  readonly [field: string]: unknown;
}

/** The state of a namespace that a pod can set, without values that change by themselves. */
async function snapshot(netns: string) {
  const links = JSON.parse(await here(netns, "ip -j addr")) as Shown[];
  const routes = await here(netns, "ip -4 route show table all; ip -6 route show dev lo");
  return {
    links: links.map(({ ifname, ifindex, mtu, address, master, ifalias, altnames, ...rest }) => {
      const isUp = rest.flags.includes("UP");
      const addresses = rest.addr_info.filter(({ scope }) => scope !== "link");
      const own = { ifname, ifindex, mtu, address, master, ifalias, altnames, isUp };
      return { ...own, addresses: addresses.map(({ local }) => local) };
    }),
    routes: routes.replaceAll(" linkdown", "").split("\n").sort(),
  };
}

/** Kills the agent, kills the datapath, and restarts the agent by SIGTERM. */
async function restarts(): Promise<void> {
  if (!IS_KERNEL) {
    await agent.kill();
    await agent.start();
    const pid = await agent.datapathPid();
    process.kill(pid, "SIGKILL");
    await until("the datapath is restarted", async () => {
      return (await agent.datapathPid().catch(() => pid)) !== pid;
    });
    await until("the devices are open", devicesAreOpen);
  }
  const passes = agent.log.split('"ready"').length;
  await agent.kill("SIGTERM");
  await agent.start();
  await until("a reconcile is done", () => agent.log.split('"ready"').length > passes);
}

/** True if the datapath has opened the devices of all attached sessions. */
async function devicesAreOpen(): Promise<boolean> {
  const client = new DatapathClient(join(agent.folder, "run", "datapath.sock"));
  try {
    const { sessions } = await client.list();
    const rows = await agent.ask({ op: "attachments" });
    const attached = rows.filter(({ state }) => state === "attached");
    return attached.every(({ session: key }) =>
      sessions.some(({ session, deviceOpen }) => session.key === key && deviceOpen),
    );
  } finally {
    client.close();
  }
}

const RENAME = "ip link set net1 down; ip link set net1 name mine; ip link set mine up";

/** Changes that a pod can make to its interface. Each is tested with its own pod and session. */
const CHANGES: Readonly<Record<string, string>> = {
  down: "ip link set net1 down",
  mtu: "ip link set net1 mtu 1000",
  mac: "ip link set net1 down; ip link set net1 address 02:de:ad:00:00:01; ip link set net1 up",
  "no-address": "ip addr flush dev net1",
  "more-addresses": "ip addr add 10.9.0.1/24 dev net1; ip route add 10.10.0.0/16 via 10.9.0.2",
  renamed: RENAME,
  "tap-in-its-place": `${RENAME}; ip tuntap add net1 mode tap`,
  "bridge-in-its-place": `${RENAME}; ip link add net1 type bridge`,
  "no-label": "ip link set net1 alias ''",
  "another-label": "ip link set net1 alias 'l2tp:session:shop/wan 129'",
  "alternative-name": "ip link property add dev net1 altname pseudowire",
  "bridge-port": "ip link add br0 type bridge; ip link set net1 master br0; ip link set br0 up",
  swapped:
    "ip link add other type bridge; ip link set net1 down; ip link set net1 name x; ip link set other name net1; ip link set x name other; ip link set other up",
};

it("keeps the pod's changes over restarts and CHECK, and is deleted by DEL", async () => {
  const names = Object.keys(CHANGES);
  const sessions = names.map((name, index) => {
    const ids = { sessionId: 200 + index, peerSessionId: 200 + index };
    return sessionObject(name, "branch", ids);
  });
  agent.write("changes.yaml", sessions);
  const made = await Promise.all(
    names.map(async (name) => {
      const netns = await net.addPod(`${count}-${name}`);
      const own = (command: string, more: object = {}) =>
        cni(net.a, {
          ...{ command, netns, containerId: name },
          config: config(agent, name, "10.1.0.1/24", more),
        });
      await until(`the session of ${name} is known`, () => agent.session(`shop/${name}`));
      const { json } = expectOk(await own("ADD"));
      await here(netns, CHANGES[name] ?? "");
      return { name, netns, own, json, before: await snapshot(netns) };
    }),
  );
  const expectUnchanged = async () => {
    for (const { name, netns, before } of made) {
      expect({ name, ...(await snapshot(netns)) }).toEqual({ name, ...before });
    }
  };
  await restarts();
  await expectUnchanged();
  for (const { own, json } of made) {
    // The runtime's result does not list interfaces that later plugins have deleted.
    expectOk(await own("CHECK", { prevResult: { ...json, ips: [], routes: [] } }));
  }
  await expectUnchanged();
  for (const { name, netns, own, json, before } of made) {
    expectOk(await own("DEL"));
    const { links } = await snapshot(netns);
    // The bridges and the TAP device belong to the pods.
    expect({ name, count: links.length }).toEqual({ name, count: before.links.length - 1 });
    expect(links.map(({ address }) => address)).not.toContain(json.interfaces[0].mac);
    await net.removePod(netns);
  }
  // The next pod gets the session without traces of the previous one.
  const next = await net.addPod(`next${count}`);
  const [first] = made;
  const again = config(agent, first?.name ?? "", "10.1.0.1/24");
  expectOk(await cni(net.a, { command: "ADD", netns: next, containerId: "next", config: again }));
  expect((await snapshot(next)).links.find(({ ifname }) => ifname === "net1")).toMatchObject({
    ...{ isUp: true, addresses: ["10.1.0.1"] },
  });
  agent.remove("changes.yaml");
  await net.removePod(next);
});

/** The steps of a virtual machine's launcher with an extra interface. */
const LAUNCHER = `
ip link set net1 down
ip link set net1 name port-nic
ip link set port-nic address 02:de:ad:00:00:01
ip link add vmbr type bridge
ip link set port-nic master vmbr
ip link set port-nic up
ip link set vmbr up
ip link add net1 type veth peer name holder
ip link add tap0 type veth peer name vm0
ip link set tap0 master vmbr up
`;

it("serves a virtual machine behind a bridge of its launcher", async () => {
  const added = await attach();
  await here(pod, LAUNCHER);
  const machine = await net.addPod(`vm${count}`);
  await here(pod, `ip link set vm0 netns ${nameOf(machine)}`);
  await here(
    machine,
    `ip link set vm0 address ${added.json.interfaces[0].mac}; ip addr add 10.1.0.1/24 dev vm0; ip link set vm0 up`,
  );
  await crosses(machine);
  await restarts();
  await crosses(machine);
  expect(await agent.session("shop/lan")).toMatchObject({ interface: "port-nic" });
  await until("the status has the existing name", async () => {
    const rows = await agent.ask({ op: "attachments" });
    const row = rows.find(({ containerId }) => containerId === "c1");
    return row?.ifname === "port-nic" && row.mac === "02:de:ad:00:00:01";
  });
  expectOk(await call("DEL"));
  expect((await linksOf(pod)).map(({ ifname }) => ifname)).not.toContain("port-nic");
  await net.removePod(machine);
});

it("keeps an interface that the pod moved to another namespace, and deletes it there", async () => {
  await attach();
  const inner = await net.addPod(`inner${count}`);
  await here(pod, `ip link set net1 netns ${nameOf(inner)}`);
  await here(inner, "ip addr add 10.1.0.1/24 dev net1; ip link set net1 up");
  await crosses(inner);
  await agent.kill();
  await agent.start();
  await crosses(inner);
  expectOk(await call("CHECK", "lan", { prevResult: { cniVersion: "1.0.0" } }));
  await crosses(inner);
  expectOk(await call("DEL"));
  await until("the interface is deleted", async () => (await linksOf(inner)).length === 1);
  await net.removePod(inner);
});

it("gives no pod another pod's session because of an interface's name and label", async () => {
  const [wan, farWan] = [await net.addPod(`wan${count}`), await net.addPod(`farwan${count}`)];
  const there = config(peer, "wan", "10.2.0.2/24");
  const other = { command: "ADD", containerId: "wan" };
  expectOk(await cni(net.b, { ...other, netns: farWan, config: there }));
  const own = config(agent, "wan", "10.2.0.1/24");
  expectOk(await cni(net.a, { ...other, netns: wan, config: own }));
  await attach();
  // With the kernel datapath the device returns to the node with its alias.
  await here(pod, "ip link set net1 down; ip link set net1 name l2tp-129");
  await here(pod, "ip link set l2tp-129 alias 'l2tp:session:shop/wan 129'");
  await net.removePod(pod);
  await restarts();
  await until("the pod is detected as dead", () => {
    return agent.condition("l2tpsession", "shop/lan", "Attached")?.reason === "NamespaceGone";
  });
  expect(await ping(wan, "10.2.0.2", { count: 3 })).toBe(true);
  const next = await net.addPod(`heir${count}`);
  const heir = config(agent, "lan", "10.1.0.1/24");
  expectOk(await cni(net.a, { command: "ADD", containerId: "heir", netns: next, config: heir }));
  await crosses(next);
  expect(await ping(wan, "10.2.0.2", { count: 3 })).toBe(true);
  for (const netns of [wan, farWan, next]) await net.removePod(netns);
});

it("reports what blocks the recreation of an interface, and does not change it", async (context) => {
  // net/l2tp/l2tp_eth.c: a device without rtnl_link_ops.
  if (IS_KERNEL) context.skip("the kernel refuses to delete a device of its L2TP (EOPNOTSUPP)");
  const added = await attach();
  await here(pod, "ip link del net1; ip link add net1 type bridge; ip link set net1 mtu 1234");
  const before = await snapshot(pod);
  await until("the status has the reason", () =>
    agent
      .condition("l2tpsession", "shop/lan", "Programmed")
      ?.message.includes("another interface has this name"),
  );
  expect(agent.condition("l2tpsession", "shop/lan", "Attached")?.reason).toBe("InterfaceMissing");
  expect(await snapshot(pod)).toEqual(before);
  expect((await call("CHECK", "lan", { prevResult: added.json })).json).toMatchObject({
    code: 104,
  });
  await here(pod, "ip link del net1");
  await crosses();
});

it("accepts changes by later plugins of MAC, MTU, sysctls and routing tables", async () => {
  // The kernel changes the MAC address of an L2TP device only while it is down (EBUSY).
  const mac = IS_KERNEL ? {} : { mac: "02:de:ad:00:00:02" };
  const chain = [{ type: "tuning", mtu: 1200, promisc: true, sysctl: {}, ...mac }, { type: "sbr" }];
  const plugin = async (command: string, plugin: object & { type: string }, prevResult: object) => {
    const program = `${REFERENCE_PLUGINS}/${plugin.type}`;
    const network = { cniVersion: "1.0.0", name: "branch", ...plugin, prevResult };
    return expectOk(await cni(net.a, { command, netns: pod, config: network, program }));
  };
  let result = (await attach()).json;
  for (const each of chain) result = (await plugin("ADD", each, result)).json ?? result;
  const before = await snapshot(pod);
  await restarts();
  expectOk(await call("CHECK", "lan", { prevResult: result }));
  expect(await snapshot(pod)).toEqual(before);
  expect(await agent.session("shop/lan")).toMatchObject({ mtu: 1200 });
  // The far pod's neighbor entry has the old MAC address.
  await here(far, "ip neigh flush all");
  // `sbr` created a routing table for this source.
  await until("frames cross", () => ping(pod, "10.1.0.2", { args: ["-I", "10.1.0.1"] }));
});

it("does not change a pod's interface on a bridge", async () => {
  const added = await attach("hub");
  await here(pod, `${RENAME}; ip link set mine mtu 1200`);
  const before = await snapshot(pod);
  await restarts();
  expect(await snapshot(pod)).toEqual(before);
  const prevResult = { ...added.json, ips: [], routes: [] };
  expectOk(await call("CHECK", "hub", { prevResult }));
  expectOk(await call("DEL", "hub"));
  expect((await linksOf(pod)).map(({ ifname }) => ifname)).toEqual(["lo"]);
});

it("fails CHECK if the pod deleted an address of ADD's result", async () => {
  const { json: prevResult } = await attach();
  expectOk(await call("CHECK", "lan", { prevResult }));
  await here(pod, "ip addr del 10.1.0.1/24 dev net1");
  const answer = await call("CHECK", "lan", { prevResult });
  expect(answer.json).toMatchObject({ code: 104, msg: expect.stringContaining("10.1.0.1/24") });
});

it("follows the MTU of its session, unless the pod changed the MTU", async () => {
  await attach();
  const mtu = async (name: string) =>
    (await linksOf(pod)).find(({ ifname }) => ifname === name)?.mtu;
  const write = (sessionMtu: number) => {
    const change = { sessionId: 128, peerSessionId: 128, mtu: sessionMtu };
    agent.write("all.yaml", [
      ...objects(net.a, net.b).filter((_, index) => index !== 1),
      sessionObject("lan", "branch", change),
    ]);
  };
  write(1300);
  await until("the MTU follows", async () => (await mtu("net1")) === 1300);
  await here(pod, "ip link set net1 mtu 1280");
  write(1290);
  await restarts();
  expect(await mtu("net1")).toBe(1280);
  agent.write("all.yaml", objects(net.a, net.b));
});

it("sends nothing at ADD with announce: false", async () => {
  const there = config(peer, "quiet", "");
  expectOk(await cni(net.b, { command: "ADD", netns: far, config: there }));
  const port = new FramePort(far, "net1");
  const mac = "02:00:5e:00:53:09";
  const runtimeConfig = { ips: ["10.1.0.1/24"], mac };
  expectOk(await call("ADD", "quiet", { runtimeConfig }));
  expect(await here(pod, "ip -d link show net1")).toContain("addrgenmode none");
  await here(far, "ip addr add 10.1.0.2/24 dev net1");
  // The pod answers the ping. It has sent no frame before.
  await until("frames cross", () => ping(far, "10.1.0.1"));
  const bytes = mac.replaceAll(":", "");
  const own: string[] = [];
  for (let frame = port.receive(); frame !== null; frame = port.receive()) {
    const text = frame.toString("hex");
    if (text.slice(12, 24) === bytes) own.push(text);
  }
  port.close();
  // The first frame is a unicast ARP reply, not an announcement.
  expect(own[0]?.slice(24, 28)).toBe("0806");
  expect(own[0]?.startsWith("ffffffffffff")).toBe(false);
});
