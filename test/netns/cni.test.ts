import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { TestAgent } from "../harness/agent.ts";
import { type CniAnswer, type CniCall, cni, REFERENCE_PLUGINS } from "../harness/cni.ts";
import { FramePort } from "../harness/frames.ts";
import { ip, link, linksOf, ping, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { run } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

let net: TestNet;
let agent: TestAgent;
let peer: TestAgent;
let ipamFolder: string;
let pods: string[];

beforeAll(async () => {
  net = await TestNet.create();
  agent = new TestAgent(net.a);
  peer = new TestAgent(net.b);
  for (const [mine, other] of [
    [agent, net.b],
    [peer, net.a],
  ] as const) {
    mine.write("branch.yaml", [
      tunnelObject("branch", mine.host, other),
      sessionObject("lan", "branch"),
      sessionObject("wan", "branch", { sessionId: 200, peerSessionId: 200 }),
      sessionObject("hub", "branch", {
        sessionId: 300,
        peerSessionId: 300,
        attachment: { mode: "Bridge" },
      }),
    ]);
  }
  await Promise.all([agent.start(), peer.start()]);
});

afterAll(async () => {
  await agent?.destroy();
  await peer?.destroy();
  await net?.remove();
});

beforeEach(() => {
  ipamFolder = mkdtempSync(join(tmpdir(), "ipam-"));
  pods = [];
});

afterEach(async () => {
  for (const pod of pods) await net.removePod(pod);
  for (const mine of [agent, peer]) {
    const before = new Date().toISOString();
    await mine.ask({ op: "gc", network: "branch", valid: [], before });
  }
  rmSync(ipamFolder, { recursive: true });
});

let podCount = 0;
async function pod(): Promise<string> {
  const netns = await net.addPod(`pod${podCount++}`);
  pods.push(netns);
  return netns;
}

const config = (more: object = {}, mine = agent) => ({
  cniVersion: "1.1.0",
  name: "branch",
  type: "l2tp",
  session: "lan",
  namespace: "shop",
  socket: mine.socket,
  ...more,
});

const call = (command: string, netns: string, more: object = {}, rest: Partial<CniCall> = {}) =>
  cni(net.a, { command, netns, config: config(more), ...rest });

/** Debian's reference plugins know versions up to 1.0.0. */
const hostLocal = () => ({
  cniVersion: "1.0.0",
  ipam: { type: "host-local", dataDir: ipamFolder, ranges: [[{ subnet: "10.1.0.0/24" }]] },
});
const list = (folder: string) => (existsSync(folder) ? readdirSync(folder) : []);
const allocated = () => list(join(ipamFolder, "branch")).filter((name) => name.startsWith("10."));

function expectOk(answer: CniAnswer): CniAnswer {
  expect(answer, answer.stdout + answer.stderr).toMatchObject({ status: 0 });
  return answer;
}

describe("as a main plugin", () => {
  it("attaches pods at both ends, and frames cross", async () => {
    const [podA, podB] = [await pod(), await pod()];
    const ips = (address: string) => ({ runtimeConfig: { ips: [address] } });
    const added = expectOk(await call("ADD", podA, ips("10.1.0.1/24")));
    const interfaces = [{ name: "net1", sandbox: podA, mtu: 1446 }];
    expect(added.json).toMatchObject({
      interfaces,
      ips: [{ address: "10.1.0.1/24", interface: 0 }],
    });
    const far = config(ips("10.1.0.2/24"), peer);
    expectOk(await cni(net.b, { command: "ADD", netns: podB, config: far }));
    expect(await ping(podA, "10.1.0.2", { count: 5 })).toBe(true);
    expect((await link(podA, "net1"))?.address).toBe(added.json.interfaces[0].mac);
    expectOk(await call("CHECK", podA, { ...ips("10.1.0.1/24"), prevResult: added.json }));
    expect(expectOk(await call("DEL", podA)).stdout).toBe("");
    expect(await link(podA, "net1")).toBeUndefined();
    expect((await agent.session("shop/lan"))?.attachedTo).toEqual([]);
    expectOk(await call("DEL", podA));
  });

  it.each(["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])(
    "answers in version %s",
    async (cniVersion) => {
      const runtimeConfig = { ips: ["10.1.0.9/24"] };
      const added = expectOk(await call("ADD", await pod(), { cniVersion, runtimeConfig }));
      expect(added.json.cniVersion).toBe(cniVersion);
      expect(added.json.ips[0].version).toBe(cniVersion.startsWith("0.") ? "4" : undefined);
      expect(added.json.interfaces[0].mtu).toBe(cniVersion === "1.1.0" ? 1446 : undefined);
    },
  );

  it.each(["0.3.1", "0.4.0", "1.0.0"])("delegates to IPAM in version %s", async (cniVersion) => {
    const added = expectOk(await call("ADD", await pod(), { ...hostLocal(), cniVersion }));
    expect(added.json.ips[0]).toMatchObject({ address: "10.1.0.2/24", gateway: "10.1.0.1" });
  });

  it("allocates addresses by IPAM, releases them, and repeats its answers", async () => {
    const netns = await pod();
    const first = expectOk(await call("ADD", netns, hostLocal()));
    const second = expectOk(await call("ADD", netns, hostLocal()));
    expect(second.json).toEqual(first.json);
    expect(allocated()).toEqual(["10.1.0.2"]);
    expectOk(await call("CHECK", netns, { ...hostLocal(), prevResult: first.json }));
    expectOk(await call("DEL", netns, hostLocal()));
    expect(allocated()).toEqual([]);
  });

  it("uses the requested MAC address", async () => {
    const netns = await pod();
    const runtimeConfig = { mac: "02:00:5e:00:53:01" };
    expectOk(await call("ADD", netns, { mac: "02:00:00:00:00:02", runtimeConfig }));
    expect((await link(netns, "net1"))?.address).toBe("02:00:5e:00:53:01");
  });

  it("rejects an ADD that cannot succeed, and releases its addresses", async () => {
    const [first, second] = [await pod(), await pod()];
    expectOk(await call("ADD", first, hostLocal()));
    const busy = await call("ADD", second, hostLocal(), { containerId: "c2" });
    expect(busy).toMatchObject({ status: 1, json: { code: 101 } });
    expect(busy.json.msg).toContain("shop/lan is attached to");
    expect(allocated()).toEqual(["10.1.0.2"]);

    await ip(second, "link", "add", "net1", "type", "bridge");
    const taken = await call("ADD", second, { session: "wan" }, { containerId: "c2" });
    expect(taken.json).toMatchObject({ code: 102 });
    const unknown = await call("ADD", second, { session: "no" }, { containerId: "c2" });
    expect(unknown.json.msg).toContain("no L2tpSession shop/no on node");
    const foreign = { containerId: "c2", pod: "other/web-0" };
    const namespace = await call("ADD", second, { session: "shop/wan" }, foreign);
    expect(namespace.json).toMatchObject({ code: 103 });
    const gone = await call("ADD", "/run/netns/none", { session: "wan" }, { containerId: "c2" });
    expect(gone.json).toMatchObject({ code: 8 });
  });

  it("announces the pod's addresses to the peer", async () => {
    const [one, two] = [await pod(), await pod()];
    const away = { command: "ADD", netns: two, config: config({}, peer), containerId: "away" };
    expectOk(await cni(net.b, away));
    const port = new FramePort(two, "net1");
    const ips = ["10.1.0.1/24", "fd00::1/64"];
    const mac = "02:00:5e:00:53:07";
    expectOk(await call("ADD", one, { runtimeConfig: { ips, mac } }));
    const bytes = mac.replaceAll(":", "");
    const frames = new Set<string>();
    await until("a gratuitous ARP and an unsolicited advertisement arrive", () => {
      for (let frame = port.receive(); frame !== null; frame = port.receive()) {
        frames.add(frame.toString("hex"));
      }
      const all = [...frames];
      // RFC 5227 §3: sender and target are the same. RFC 4861 §7.2.6: to all nodes, overriding.
      const arp = `ffffffffffff${bytes}08060001080006040001${bytes}0a0100010000000000000a010001`;
      const head = `333300000001${bytes}86dd`;
      const target = "fd000000000000000000000000000001";
      return (
        all.some((text) => text.startsWith(arp)) &&
        all.some((text) => text.startsWith(head) && text.includes(`20000000${target}0201${bytes}`))
      );
    });
    port.close();
    expectOk(await cni(net.b, { ...away, command: "DEL" }));
  });

  it("connects several pods by a bridge", async () => {
    const [one, two, far] = [await pod(), await pod(), await pod()];
    const hub = (address: string) => ({ session: "hub", runtimeConfig: { ips: [address] } });
    const added = expectOk(await call("ADD", one, hub("10.3.0.1/24"), { containerId: "one" }));
    expect(added.json.interfaces.map(({ name }: { name: string }) => name)).toEqual([
      "l2br-300",
      expect.stringMatching(/^l2v/),
      "net1",
    ]);
    expectOk(await call("ADD", two, hub("10.3.0.2/24"), { containerId: "two" }));
    const farConfig = config(hub("10.3.0.3/24"), peer);
    expectOk(await cni(net.b, { command: "ADD", netns: far, config: farConfig }));
    await until("frames cross the bridge", () => ping(one, "10.3.0.3"));
    expect(await ping(one, "10.3.0.2")).toBe(true);
    expect(await ping(two, "10.3.0.3")).toBe(true);
    expectOk(await call("DEL", one, hub(""), { containerId: "one" }));
    expect(await ping(two, "10.3.0.3")).toBe(true);
    expectOk(await call("DEL", two, hub(""), { containerId: "two" }));
    expect(await link(net.a.name, "l2br-300")).toBeUndefined();
  });

  it("adds and deletes many pods concurrently", async () => {
    const many = await Promise.all(Array.from({ length: 8 }, pod));
    const hub = { session: "hub" };
    const each = (command: string) =>
      Promise.all(many.map((netns, i) => call(command, netns, hub, { containerId: `m${i}` })));
    for (const answer of await each("ADD")) expectOk(answer);
    expect((await agent.session("shop/hub"))?.attachedTo).toHaveLength(8);
    const both = await Promise.all([each("DEL"), each("DEL")]);
    for (const answer of both.flat()) expectOk(answer);
    expect((await agent.session("shop/hub"))?.attachedTo).toHaveLength(0);
  });
});

it("gives concurrent ADDs and DELs of one pod the same answers", async () => {
  const netns = await pod();
  const at = { runtimeConfig: { ips: ["10.1.0.1/24"] } };
  const four = (command: string) =>
    Promise.all(Array.from({ length: 4 }, () => call(command, netns, at)));
  const answers = await four("ADD");
  for (const answer of answers) expect(expectOk(answer).json).toEqual(answers[0]?.json);
  expect(await agent.ask({ op: "attachments" })).toHaveLength(1);
  for (const answer of await four("DEL")) expectOk(answer);
  expect(await agent.ask({ op: "attachments" })).toEqual([]);
  // In any order: a successful ADD lasts until a DEL, and the last DEL wins.
  await Promise.all([...(await four("ADD")), call("DEL", netns, at), call("ADD", netns, at)]);
  expectOk(await call("DEL", netns, at));
  expect((await linksOf(netns)).map(({ ifname }) => ifname)).toEqual(["lo"]);
});

describe("in a chain", () => {
  const prevResult = {
    cniVersion: "1.1.0",
    interfaces: [{ name: "eth0", sandbox: "/x" }],
    ips: [{ interface: 0, address: "10.0.0.5/24" }],
    dns: {},
  };
  const asked = (annotation: string) => ({
    session: undefined,
    prevResult,
    runtimeConfig: { "io.kubernetes.cri.pod-annotations": { "l2tp.dev/sessions": annotation } },
  });
  const eth0 = { ifname: "eth0", pod: "shop/web-0" };

  it("returns prevResult for a pod without sessions", async () => {
    const answer = expectOk(
      await call("ADD", await pod(), { session: undefined, prevResult }, eth0),
    );
    expect(answer.json).toEqual(prevResult);
  });

  it("passes CHECK for a pod without sessions", async () => {
    const netns = await pod();
    const nothing = asked("[]");
    const answer = expectOk(await call("ADD", netns, nothing, eth0));
    expectOk(await call("CHECK", netns, { ...nothing, prevResult: answer.json }, eth0));
    const more = { ...asked("lan@net7"), prevResult: answer.json };
    expect((await call("CHECK", netns, more, eth0)).json).toMatchObject({ code: 3 });
  });

  it("rejects ipam when chained", async () => {
    const answer = await call("ADD", await pod(), { ...asked("lan@net7"), ...hostLocal() }, eth0);
    expect(answer.json).toMatchObject({ code: 7, msg: expect.stringContaining("ipam") });
  });

  it("adds the interfaces of a pod's annotation, and deletes them", async () => {
    const netns = await pod();
    const json = JSON.stringify([
      { name: "lan", interface: "net7", ips: ["10.1.0.9/24"] },
      { name: "wan" },
    ]);
    const answer = expectOk(await call("ADD", netns, asked(json), eth0));
    expect(answer.json.interfaces).toMatchObject([
      { name: "eth0" },
      { name: "net7" },
      { name: "l2tp1" },
    ]);
    expect(answer.json.ips).toMatchObject([
      { interface: 0 },
      { address: "10.1.0.9/24", interface: 1 },
    ]);
    expectOk(await call("CHECK", netns, { ...asked(json), prevResult: answer.json }, eth0));
    // The annotation may be removed before DEL.
    expectOk(await call("DEL", netns, { session: undefined, prevResult: answer.json }, eth0));
    expect(await link(netns, "net7")).toBeUndefined();
    expect(await link(netns, "l2tp1")).toBeUndefined();
  });

  it("runs between the reference plugins in a runtime's chain", async () => {
    const netns = await pod();
    const annotations = {
      "io.kubernetes.cri.pod-annotations": { "l2tp.dev/sessions": "lan@net7" },
    };
    const ours = { socket: agent.socket, namespace: "shop", runtimeConfig: annotations };
    const chain = [
      { type: "bridge", bridge: "brchain", isGateway: true, ipam: hostLocal().ipam },
      { type: "l2tp", ...ours },
      // The pod's first interface, which the plugin must not change.
      { type: "tuning", mtu: 1280, promisc: true },
    ];
    const run = async (command: string, plugin: object, prevResult: object | null) => {
      const { type } = plugin as { type: string };
      const program = type === "l2tp" ? {} : { program: `${REFERENCE_PLUGINS}/${type}` };
      const known = prevResult === null ? {} : { prevResult };
      const network = { cniVersion: "1.0.0", name: "branch", ...plugin, ...known };
      return expectOk(await cni(net.a, { command, netns, config: network, ...program, ...eth0 }));
    };
    let result: { interfaces: object[]; ips: object[] } | null = null;
    for (const plugin of chain) result = (await run("ADD", plugin, result)).json;
    expect(result?.interfaces).toMatchObject([
      { name: "brchain" },
      { name: expect.stringContaining("veth") },
      { name: "eth0", sandbox: netns },
      { name: "net7", sandbox: netns },
    ]);
    expect(result?.ips).toMatchObject([{ interface: 2, gateway: "10.1.0.1" }]);
    expect((await link(netns, "eth0"))?.mtu).toBe(1280);
    expect((await link(netns, "net7"))?.mtu).toBeGreaterThan(1400);
    for (const plugin of chain) await run("CHECK", plugin, result);
    for (const plugin of chain.toReversed()) await run("DEL", plugin, result);
    expect((await linksOf(netns)).map(({ ifname }) => ifname)).toEqual(["lo"]);
    expect(allocated()).toEqual([]);
    await ip(net.a.name, "link", "del", "brchain");
  });

  it("deletes all interfaces if one fails", async () => {
    const netns = await pod();
    const answer = await call("ADD", netns, asked("lan@net7, nope@net8"), eth0);
    expect(answer.json).toMatchObject({ code: 100 });
    expect(await link(netns, "net7")).toBeUndefined();
  });
});

describe("agent crashes and downtime", () => {
  it.each(["recorded", "placed", "announced"] as const)(
    "completes an ADD after the agent crashed when %s",
    async (step) => {
      const netns = await pod();
      await agent.kill();
      await agent.start("--exit-at", step);
      const broken = await call("ADD", netns, hostLocal());
      expect(broken.json).toMatchObject({ code: 11 });
      expect(allocated()).toEqual([]);
      await agent.ended();
      await agent.start();
      expectOk(await call("ADD", netns, hostLocal()));
      expect(allocated()).toHaveLength(1);
      expectOk(await call("DEL", netns, hostLocal()));
      expect(await link(netns, "net1")).toBeUndefined();
      expect(await agent.ask({ op: "attachments" })).toEqual([]);
    },
  );

  it.each(["leaving", "left"] as const)(
    "completes a DEL after the agent crashed when %s",
    async (step) => {
      const netns = await pod();
      await agent.kill();
      await agent.start("--exit-at", step);
      expectOk(await call("ADD", netns));
      expectOk(await call("DEL", netns));
      await agent.ended();
      await agent.start();
      await until(
        "the interface is deleted",
        async () => (await link(netns, "net1")) === undefined,
      );
      await until(
        "the attachment is deleted",
        async () => (await agent.ask({ op: "attachments" })).length === 0,
      );
    },
  );

  it("defers DEL and GC while the agent is down, and the agent runs them later", async () => {
    const [one, two] = [await pod(), await pod()];
    expectOk(await call("ADD", one));
    expectOk(await call("ADD", two, { session: "wan" }, { containerId: "c2" }));
    await agent.kill();
    expect((await call("ADD", one)).json).toMatchObject({ code: 11 });
    // The failed ADD must not leave anything to undo.
    expect(list(join(agent.folder, "run", "deferred"))).toEqual([]);
    expect((await call("STATUS", "")).json).toMatchObject({ code: 50 });
    expectOk(await call("DEL", one));
    expectOk(await call("GC", "", { "cni.dev/valid-attachments": [] }));
    await agent.start();
    await until("both interfaces are deleted", async () => {
      const [first, second] = [await link(one, "net1"), await link(two, "net1")];
      return first === undefined && second === undefined;
    });
    expectOk(await call("STATUS", ""));
  });

  it("creates no folder for deferred requests if no agent has ever run", async () => {
    const nowhere = join(ipamFolder, "no", "agent.sock");
    expectOk(await call("DEL", await pod(), { socket: nowhere }));
    expect(readdirSync(ipamFolder)).toEqual([]);
  });

  it("collects invalid attachments only", async () => {
    const [one, two] = [await pod(), await pod()];
    expectOk(await call("ADD", one));
    expectOk(await call("ADD", two, { session: "wan" }, { containerId: "c2" }));
    const valid = [{ containerID: "c2", ifname: "net1" }];
    expectOk(await call("GC", "", { "cni.dev/valid-attachments": valid }));
    expect(await link(one, "net1")).toBeUndefined();
    expect(await link(two, "net1")).toBeDefined();
  });

  it("does not trust a pod's interface label", async () => {
    const [one, two] = [await pod(), await pod()];
    const [farOne, farTwo] = [await pod(), await pod()];
    const at = (address: string, session = "lan") => ({
      session,
      runtimeConfig: { ips: [address] },
    });
    const far = (netns: string, containerId: string, more: object) =>
      cni(net.b, { command: "ADD", netns, containerId, config: config(more, peer) });
    expectOk(await call("ADD", one, at("10.1.0.1/24"), { containerId: "one" }));
    expectOk(await call("ADD", two, at("10.2.0.1/24", "wan"), { containerId: "two" }));
    expectOk(await far(farOne, "one", at("10.1.0.2/24")));
    expectOk(await far(farTwo, "two", at("10.2.0.2/24", "wan")));
    await until("frames cross", () => ping(two, "10.2.0.2"));
    await ip(one, "link", "set", "net1", "alias", "l2tp:session:shop/wan");
    process.kill(await agent.datapathPid(), "SIGKILL");
    await until("frames cross for the other pod", () => ping(two, "10.2.0.2"));
    await until("frames cross for the pod itself", () => ping(one, "10.1.0.2"));
    expect(await link(two, "l2tpmove0")).toBeUndefined();
  });

  it("detects a new namespace at an old path", async () => {
    const hub = (address: string) => ({ session: "hub", runtimeConfig: { ips: [address] } });
    const before = await pod();
    expectOk(await call("ADD", before, hub("10.9.0.1/24")));
    const name = before.split("/").at(-1) ?? "";
    await run(["ip", "netns", "del", name]);
    await run(["ip", "netns", "add", name]);
    expectOk(await call("ADD", before, hub("10.9.0.2/24"), { containerId: "c9" }));
    const addresses = (await link(before, "net1"))?.addr_info?.map(({ local }) => local);
    expect(addresses).toContain("10.9.0.2");
    expect(addresses).not.toContain("10.9.0.1");
    expectOk(await call("DEL", before, hub(""), { containerId: "c9" }));
  });

  it("does not override the routes of a pod", async () => {
    const netns = await pod();
    await run(["ip", "-n", netns.split("/").at(-1) ?? "", "link", "add", "eth0", "type", "bridge"]);
    await ip(netns, "addr", "add", "10.8.0.2/24", "dev", "eth0");
    await ip(netns, "link", "set", "eth0", "up");
    await ip(netns, "route", "add", "default", "via", "10.8.0.1");
    const { ipam } = hostLocal();
    const routes = {
      cniVersion: "1.0.0",
      ipam: { ...ipam, routes: [{ dst: "0.0.0.0/0" }, { dst: "10.77.0.0/16" }] },
    };
    expectOk(await call("ADD", netns, routes));
    const shown = await ip(netns, "route");
    expect(shown).toContain("default via 10.8.0.1 dev eth0");
    expect(shown).toContain("10.77.0.0/16 via 10.1.0.1 dev net1");
    // CHECK plans again, and finds no difference.
    expectOk(await call("CHECK", netns, { ...routes, prevResult: { cniVersion: "1.0.0" } }));
    expectOk(await call("DEL", netns, routes));
    await ip(netns, "link", "del", "eth0");
  });

  it("frees the session of a pod that died without a DEL", async () => {
    const one = await pod();
    expectOk(await call("ADD", one));
    await net.removePod(one);
    expectOk(await call("ADD", await pod(), {}, { containerId: "c2" }));
  });
});

describe("an invalid call", () => {
  it.each<[string, Partial<CniCall>, number]>([
    ["no JSON", { config: "{" }, 6],
    ["no object", { config: "[]" }, 7],
    ["an old version", { config: { cniVersion: "0.2.0", name: "x", type: "l2tp" } }, 1],
    ["no name", { config: { cniVersion: "1.0.0", type: "l2tp", session: "lan" } }, 7],
    ["a bad session", { config: { cniVersion: "1.0.0", name: "x", session: "../x" } }, 7],
    ["a command that does not exist", { command: "FROB" }, 4],
    ["no container", { env: { CNI_CONTAINERID: "" } }, 4],
    ["a bad interface name", { ifname: "a/b" }, 4],
    ["CHECK without prevResult", { command: "CHECK" }, 7],
  ])("with %s returns its error code", async (_what, change, code) => {
    const netns = await pod();
    const answer = await cni(net.a, { command: "ADD", netns, config: config(), ...change });
    expect(answer.status).toBe(1);
    expect(answer.json).toMatchObject({ code });
    expect(await link(netns, "net1")).toBeUndefined();
  });

  it("reports its versions without the agent", async () => {
    const answer = await cni(net.a, { command: "VERSION", config: { cniVersion: "1.0.0" } });
    expect(answer.json).toEqual({
      cniVersion: "1.0.0",
      supportedVersions: ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"],
    });
  });
});
