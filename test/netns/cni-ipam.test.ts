/**
 * IPAM results: the plugin applies, returns and checks them, or rejects them. Runs again inside the virtual
 * machine, with the kernel datapath.
 */
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from "vitest";
import { TestAgent } from "../harness/agent.ts";
import { type CniAnswer, cni, REFERENCE_PLUGINS } from "../harness/cni.ts";
import { inside, linksOf, nameOf, ping, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { Background, run } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

const IS_KERNEL = process.env.L2TP_TEST_DATAPATH === "Kernel";
const DATAPATH = IS_KERNEL ? { datapath: "Kernel" as const } : {};

let net: TestNet;
let agent: TestAgent;
let peer: TestAgent;
let folder: string;
let pod: string;
let count = 0;
const background = new Background();

beforeAll(async () => {
  net = await TestNet.create({ aIsInitial: IS_KERNEL });
  agent = new TestAgent(net.a);
  peer = new TestAgent(net.b);
  for (const [mine, other] of [
    [agent, net.b],
    [peer, net.a],
  ] as const) {
    mine.write("all.yaml", [
      tunnelObject("branch", mine.host, other, DATAPATH),
      sessionObject("lan", "branch"),
    ]);
  }
  await Promise.all([agent.start(), peer.start()]);
});

afterAll(async () => {
  if (IS_KERNEL) await agent?.teardownOrKill();
  await agent?.destroy();
  await peer?.destroy();
  await net?.remove();
});

beforeEach(async () => {
  pod = await net.addPod(`pod${count++}`);
  folder = mkdtempSync(join(tmpdir(), "ipam-"));
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(agent.log);
  await background.stopAll();
  await net.removePod(pod);
  await agent.ask({ op: "gc", network: "n", valid: [], before: new Date().toISOString() });
  rmSync(folder, { recursive: true });
});

/**
 * Writes an IPAM plugin that answers ADD with `answer`, and records each call with the state of the pod's
 * interface.
 */
function ipamPlugin(answer: unknown, status = 0): void {
  writeFileSync(join(folder, "answer"), JSON.stringify(answer));
  const program = join(folder, "told");
  const script = `#!/bin/sh
cat > ${folder}/stdin
echo "$CNI_COMMAND $(ip -n ${nameOf(pod)} -br link show net1 2>&1 | cut -c1-40)" >> ${folder}/calls
[ $CNI_COMMAND = ADD ] || exit 0
cat ${folder}/answer
exit ${status}
`;
  writeFileSync(program, script);
  chmodSync(program, 0o755);
}

const calls = () =>
  existsSync(join(folder, "calls")) ? readFileSync(join(folder, "calls"), "utf8") : "";

function call(command: string, more: object = {}, netns = pod): Promise<CniAnswer> {
  const config = {
    cniVersion: "1.1.0",
    name: "n",
    type: "l2tp",
    session: "shop/lan",
    socket: agent.socket,
    ipam: { type: "told" },
    ...more,
  };
  const env = { CNI_PATH: `${folder}:${REFERENCE_PLUGINS}` };
  return cni(net.a, { command, netns, config, env });
}

function expectOk(answer: CniAnswer): CniAnswer {
  expect(answer, answer.stdout + answer.stderr).toMatchObject({ status: 0 });
  return answer;
}

const here = (commands: string) => run(inside(nameOf(pod), "sh", "-ec", commands));
const names = async () => (await linksOf(pod)).map(({ ifname }) => ifname);

it("creates the interface, named and up, before IPAM's ADD, and deletes it after IPAM's DEL", async () => {
  ipamPlugin({ cniVersion: "1.1.0", ips: [{ address: "10.99.0.1/24" }] });
  expectOk(await call("ADD"));
  expectOk(await call("DEL"));
  const lines = calls().trim().split("\n");
  expect(lines).toHaveLength(2);
  for (const [index, command] of ["ADD", "DEL"].entries()) {
    expect(lines[index]).toMatch(new RegExp(`^${command} net1 +(UP|UNKNOWN)`));
  }
  expect(await names()).toEqual(["lo"]);
});

it("deletes the interface if IPAM fails, and reports the code and the name of the plugin", async () => {
  ipamPlugin({ cniVersion: "1.1.0", code: 42, msg: "no address is left", details: "of 3" }, 1);
  const answer = await call("ADD");
  expect(answer.json).toMatchObject({
    code: 42,
    msg: expect.stringContaining("no address is left"),
  });
  expect(answer.json.msg).toContain("told");
  expect(answer.json.details).toContain("of 3");
  expect(calls()).toContain("DEL");
  expect(await names()).toEqual(["lo"]);
  expect(await agent.ask({ op: "attachments" })).toEqual([]);
});

it("applies, returns and checks every field of a CNI 1.1 result", async () => {
  const answer = {
    cniVersion: "1.1.0",
    interfaces: [{ name: "not-ours" }],
    ips: [
      { address: "10.99.0.1/24", gateway: "10.99.0.254", interface: 0 },
      { address: "fd99::1/64", gateway: "fd99::fe" },
    ],
    routes: [
      { dst: "0.0.0.0/0" },
      { dst: "10.20.0.0/16", gw: "10.99.0.253", mtu: 1300, advmss: 1200, priority: 77 },
      { dst: "10.30.0.0/16", table: 4000 },
      { dst: "10.40.0.0/16", scope: 253, gw: "" },
      { dst: "fd20::/32", priority: 5 },
    ],
    dns: { nameservers: ["10.99.0.53"], domain: "lan", search: ["lan", "example"], options: ["x"] },
  };
  ipamPlugin(answer);
  const { json } = expectOk(await call("ADD"));
  const shown = await here("ip -4 route show table all; ip -6 route");
  expect(shown).toMatch(/default via 10\.99\.0\.254 dev net1/);
  expect(shown).toMatch(
    /10\.20\.0\.0\/16 via 10\.99\.0\.253 dev net1 .*metric 77 mtu 1300 advmss 1200/,
  );
  expect(shown).toMatch(/10\.30\.0\.0\/16 via 10\.99\.0\.254 dev net1 table 4000/);
  expect(shown).toMatch(/fd20::\/32 via fd99::fe dev net1 .*metric 5/);
  expect(json.interfaces).toHaveLength(1);
  expect(json.ips).toEqual([
    { interface: 0, address: "10.99.0.1/24", gateway: "10.99.0.254" },
    { interface: 0, address: "fd99::1/64", gateway: "fd99::fe" },
  ]);
  expect(json.routes).toMatchObject([
    { dst: "0.0.0.0/0", gw: "10.99.0.254" },
    { dst: "10.20.0.0/16", gw: "10.99.0.253", mtu: 1300, advmss: 1200, priority: 77 },
    { dst: "10.30.0.0/16", table: 4000 },
    { dst: "10.40.0.0/16", scope: 253 },
    { dst: "fd20::/32", gw: "fd99::fe", priority: 5 },
  ]);
  expect(json.dns).toEqual(answer.dns);
  const again = expectOk(await call("ADD"));
  expect(again.json).toEqual(json);
  expectOk(await call("CHECK", { prevResult: json }));
  for (const change of ["route del table 4000 10.30.0.0/16", "route del 10.20.0.0/16"]) {
    await here(`ip ${change}`);
    const missed = await call("CHECK", { prevResult: json });
    expect(missed.json).toMatchObject({ code: 104 });
  }
  expect((await call("CHECK", { prevResult: json })).json.msg).toContain("10.20.0.0/16");
});

it("prefers dns of the configuration", async () => {
  ipamPlugin({ cniVersion: "1.1.0", ips: [], dns: { nameservers: ["10.99.0.53"] } });
  const dns = { nameservers: ["10.1.1.1"], search: ["own"] };
  expect(expectOk(await call("ADD", { dns })).json.dns).toEqual(dns);
});

it.each(["0.3.1", "0.4.0", "1.0.0"])("returns its result in version %s", async (cniVersion) => {
  ipamPlugin({
    cniVersion,
    ips: [{ version: "4", address: "10.99.0.1/24", gateway: "10.99.0.254" }],
    routes: [{ dst: "0.0.0.0/0" }],
    dns: {},
  });
  const { json } = expectOk(await call("ADD", { cniVersion }));
  expect(json).toMatchObject({ cniVersion, ips: [{ address: "10.99.0.1/24", interface: 0 }] });
  expect(json.routes).toEqual([{ dst: "0.0.0.0/0", gw: "10.99.0.254" }]);
});

it("accepts CNI 0.2.0 results of IPAM plugins", async () => {
  ipamPlugin({
    cniVersion: "0.2.0",
    ip4: { ip: "10.99.0.1/24", gateway: "10.99.0.254", routes: [{ dst: "10.50.0.0/16" }] },
  });
  const { json } = expectOk(await call("ADD", { cniVersion: "0.3.1" }));
  expect(json.ips).toMatchObject([{ address: "10.99.0.1/24", version: "4" }]);
  expect(await here("ip route")).toContain("10.50.0.0/16 via 10.99.0.254 dev net1");
});

it.each<[string, object, number, string]>([
  ["an address without a length", { ips: [{ address: "10.99.0.1" }] }, 7, "10.99.0.1"],
  ["an entry without an address", { ips: [{ gateway: "10.99.0.1" }] }, 6, "ips[0].address"],
  ["addresses that are not a list", { ips: { address: "10.99.0.1/24" } }, 6, "ips"],
  ["a route to nowhere", { routes: [{ dst: "nowhere" }] }, 7, "nowhere"],
  [
    "a metric that is not a number",
    { routes: [{ dst: "10.0.0.0/8", priority: "x" }] },
    6,
    "priority",
  ],
  ["an impossible table", { routes: [{ dst: "10.0.0.0/8", table: -1 }] }, 7, "table"],
  [
    "an unreachable gateway",
    { routes: [{ dst: "10.0.0.0/8", gw: "203.0.113.1" }] },
    11,
    "10.0.0.0/8",
  ],
  ["dns of another shape", { dns: { nameservers: "10.0.0.1" } }, 6, "dns.nameservers"],
])("rejects %s, and undoes the ADD", async (_what, answer, code, word) => {
  ipamPlugin({ cniVersion: "1.1.0", ips: [{ address: "10.99.0.1/24" }], ...answer });
  const refused = await call("ADD");
  expect(refused.json).toMatchObject({ code, msg: expect.stringContaining(word) });
  expect(calls()).toContain("DEL");
  expect(await names()).toEqual(["lo"]);
  expect(await agent.ask({ op: "attachments" })).toEqual([]);
});

it("gives a duplicate of another interface's route a higher metric, and logs that", async () => {
  await here(
    "ip link add eth0 type bridge; ip addr add 10.8.0.2/24 dev eth0; ip link set eth0 up; ip route add default via 10.8.0.1",
  );
  const ips = [{ address: "10.99.0.1/24", gateway: "10.99.0.254" }];
  ipamPlugin({ cniVersion: "1.1.0", ips, routes: [{ dst: "0.0.0.0/0" }] });
  const { json } = expectOk(await call("ADD"));
  expect(json.routes).toEqual([{ dst: "0.0.0.0/0", gw: "10.99.0.254", priority: 100 }]);
  const shown = await here("ip route show default");
  expect(shown).toContain("default via 10.8.0.1 dev eth0");
  expect(shown).toContain("default via 10.99.0.254 dev net1 proto static metric 100");
  expectOk(await call("CHECK", { prevResult: json }));
  expectOk(await call("DEL"));
  ipamPlugin({
    cniVersion: "1.1.0",
    ips,
    routes: [{ dst: "10.8.0.0/24", priority: 0, table: 254 }],
  });
  const { json: taken } = expectOk(await call("ADD"));
  expect(taken.routes).toEqual([{ dst: "10.8.0.0/24", gw: "10.99.0.254", priority: 100 }]);
});

it("applies addresses with a peer, in the notation of ip-address(8)", async () => {
  const annotation = JSON.stringify([
    { name: "lan", interface: "net1", ips: ["10.5.1.2 peer 10.5.1.1"] },
  ]);
  const chained = {
    session: undefined,
    ipam: undefined,
    prevResult: { cniVersion: "1.1.0", interfaces: [], ips: [] },
    runtimeConfig: { "io.kubernetes.cri.pod-annotations": { "l2tp.dev/sessions": annotation } },
  };
  const config = { cniVersion: "1.1.0", name: "n", type: "l2tp", socket: agent.socket, ...chained };
  const of = { netns: pod, ifname: "eth0", pod: "shop/web-0" };
  const { json } = expectOk(await cni(net.a, { command: "ADD", config, ...of }));
  expect(json.ips).toEqual([{ interface: 0, address: "10.5.1.2/32" }]);
  expect(await here("ip addr show net1")).toContain("inet 10.5.1.2 peer 10.5.1.1/32");
  expect(await here("ip route")).toContain("10.5.1.1 dev net1");
  const prevResult = { ...config, prevResult: json };
  expectOk(await cni(net.a, { command: "CHECK", config: prevResult, ...of }));
  await here("ip addr flush dev net1");
  const missed = await cni(net.a, { command: "CHECK", config: prevResult, ...of });
  expect(missed.json).toMatchObject({ code: 104, msg: expect.stringContaining("10.5.1.2") });
  expectOk(await cni(net.a, { command: "DEL", config: prevResult, ...of }));
});

it("rejects an address with an incomplete peer", async () => {
  const runtimeConfig = { ips: ["10.5.1.2 peer fd00::1"] };
  const answer = await call("ADD", { ipam: undefined, runtimeConfig });
  expect(answer.json).toMatchObject({ code: 7, msg: expect.stringContaining("peer") });
});

it("gets an address from a DHCP server behind the pseudowire", async () => {
  const far = await net.addPod(`far${count}`);
  const config = { cniVersion: "1.0.0", name: "n", type: "l2tp", session: "shop/lan" };
  const there = { ...config, socket: peer.socket, runtimeConfig: { ips: ["10.99.0.2/24"] } };
  expectOk(await cni(net.b, { command: "ADD", netns: far, config: there }));
  const leases = join(folder, "leases");
  writeFileSync(leases, "");
  const server = [
    ...["start 10.99.0.100", "end 10.99.0.110", "interface net1", `lease_file ${leases}`],
    ...[`pidfile ${folder}/pid`, "option subnet 255.255.255.0", "option router 10.99.0.2"],
  ];
  writeFileSync(join(folder, "udhcpd.conf"), `${server.join("\n")}\n`);
  const udhcpd = ["busybox", "udhcpd", "-f", "-S", join(folder, "udhcpd.conf")];
  background.start(inside(nameOf(far), ...udhcpd));
  const socket = join(folder, "dhcp.sock");
  const daemon = ["daemon", "-socketpath", socket, "-pidfile", join(folder, "daemon.pid")];
  background.start(inside(net.a.name, `${REFERENCE_PLUGINS}/dhcp`, ...daemon));
  await until("the DHCP daemon listens", () => existsSync(socket));
  const dhcp = { cniVersion: "1.0.0", ipam: { type: "dhcp", daemonSocketPath: socket } };
  // The server may still be starting.
  const added = await until("ADD gets a lease", async () => {
    const answer = await call("ADD", dhcp);
    return answer.status === 0 ? answer : undefined;
  });
  expect(added.json.ips[0].address).toMatch(/^10\.99\.0\.1\d\d\/24$/);
  expect(await ping(pod, "10.99.0.2")).toBe(true);
  expectOk(await call("CHECK", { ...dhcp, prevResult: added.json }));
  expectOk(await call("DEL", dhcp));
  expect(await names()).toEqual(["lo"]);
  const gone = { ...there, socket: peer.socket };
  expectOk(await cni(net.b, { command: "DEL", netns: far, config: gone }));
  await net.removePod(far);
});
