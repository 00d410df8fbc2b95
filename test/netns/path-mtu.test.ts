/**
 * Flows over a path whose MTU changes: the pods keep their MTU, and packets that are too large for the path are
 * fragmented.
 */
import { afterEach, describe, expect, it } from "vitest";
import { ip, link, ping } from "../harness/net.ts";
import { sessionObject } from "../harness/objects.ts";
import {
  add,
  addByIpam,
  expectOk,
  fills,
  mtuOf,
  NARROW,
  PathPair,
  remove,
  type Setting,
  seesPath,
  WIDE,
} from "../harness/path-pair.ts";
import type { PathLink } from "../harness/routed-net.ts";
import { until } from "../harness/wait.ts";

/** Many TCP windows. */
const FLOW_BYTES = 3_000_000;

let pair: PathPair;

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(pair.a.log, pair.b.log);
  await pair.destroy();
});

async function start(setting: Setting = {}): Promise<PathPair> {
  pair = await PathPair.create(setting);
  return pair;
}

async function join(setting: Setting = {}): Promise<PathPair> {
  await start(setting);
  await pair.join();
  return pair;
}

const WIRES: readonly (readonly [string, Setting])[] = [
  ["UDP over IPv4", { wire: { encapsulation: "UDP", family: "ipv4" } }],
  ["UDP over IPv6", { wire: { encapsulation: "UDP", family: "ipv6" } }],
  ["IP over IPv4", { wire: { encapsulation: "IP", family: "ipv4" } }],
  ["IP over IPv6", { wire: { encapsulation: "IP", family: "ipv6" } }],
  [
    "the fast path over IPv4",
    {
      wire: { encapsulation: "UDP", family: "ipv4" },
      tunnel: { udpChecksum: false, fastPath: true },
    },
  ],
  [
    "the fast path over IPv6",
    {
      wire: { encapsulation: "UDP", family: "ipv6" },
      tunnel: { udpChecksum: false, fastPath: true },
    },
  ],
];
const LINKS: readonly PathLink[] = ["first", "middle"];

describe.each(WIRES)("%s", (_name, setting) => {
  it.each(LINKS)("keeps flows running while the %s link narrows and widens", async (narrow) => {
    const { a } = await join(setting);
    if (setting.tunnel?.fastPath === true) {
      await until(
        "the session is on the fast path",
        async () => (await a.session("shop/lan"))?.fastPath,
      );
    }
    await pair.flowsSurvive(narrow, FLOW_BYTES);
  });
});

it("sets a pod's MTU by the path at ADD, and when spec.mtu changes", async () => {
  const { a, podA, routed } = await start();
  await routed.setMtu("first", NARROW);
  expectOk(await add(a, podA, ["10.1.0.1/24"]));
  expect(await mtuOf(podA)).toBe(NARROW - 54);
  await routed.setMtu("first", WIDE);
  await seesPath(a, WIDE);
  expect(await mtuOf(podA)).toBe(NARROW - 54);
  // A restarted agent keeps the MTU.
  await a.kill();
  await a.start();
  expect(await mtuOf(podA)).toBe(NARROW - 54);
  a.write("lan.yaml", [sessionObject("lan", "t", { mtu: 1400 })]);
  await until("the MTU follows spec.mtu", async () => (await mtuOf(podA)) === 1400);
  a.write("lan.yaml", [sessionObject("lan", "t")]);
  await until("the MTU follows the path", async () => (await mtuOf(podA)) === WIDE - 54);
  await routed.setMtu("first", NARROW);
  await seesPath(a, NARROW);
  expect(await mtuOf(podA)).toBe(WIDE - 54);
  // The cookie's length changes the MTU, whatever the path.
  const cookies = { transmit: { value: "a1b2c3d4" } };
  a.write("lan.yaml", [sessionObject("lan", "t", { cookies })]);
  await until("the MTU follows the cookie", async () => (await mtuOf(podA)) === WIDE - 58);
  expectOk(await remove(a, podA));
  expectOk(await add(a, podA, ["10.1.0.1/24"]));
  expect(await mtuOf(podA)).toBe(NARROW - 58);
});

it("sets the MTU by the first known path if there was none at ADD, and by no later one", async () => {
  const { a, podA, routed } = await start();
  await a.kill();
  await routed.setRoutes("del");
  await a.start();
  expectOk(await add(a, podA, ["10.1.0.1/24"]));
  expect(await mtuOf(podA)).toBe(WIDE - 54);
  await routed.setMtu("first", 1400);
  await routed.setRoutes("add");
  await until("the MTU follows the path", async () => (await mtuOf(podA)) === 1400 - 54);
  await routed.setMtu("first", WIDE);
  await seesPath(a, WIDE);
  expect(await mtuOf(podA)).toBe(1400 - 54);
});

it("keeps a bridge's MTU while a pod is attached, also for pods that join", async () => {
  const { a, b, podA, podB, routed } = await join({ session: { attachment: { mode: "Bridge" } } });
  const mtu = await mtuOf(podA);
  await routed.setMtu("first", NARROW);
  await seesPath(a, NARROW);
  const more = await routed.net.addPod("pc");
  expectOk(await add(a, more, ["10.1.0.3/24"], { containerId: "c2" }));
  const onNode = JSON.parse(await ip(a.host.name, "-j", "link", "show")) as {
    ifname: string;
    mtu: number;
  }[];
  const ours = onNode.filter(({ ifname }) => /^l2/.test(ifname));
  expect(ours.length).toBeGreaterThanOrEqual(4);
  expect(new Set(ours.map((each) => each.mtu))).toEqual(new Set([mtu]));
  expect(await mtuOf(more)).toBe(mtu);
  for (const [from, to] of [
    [more, "10.1.0.1"],
    [more, "10.1.0.2"],
    [podB, "10.1.0.3"],
  ] as const) {
    await until(`a ping that fills the MTU reaches ${to}`, () => fills(from, to, mtu));
  }
  await seesPath(b, WIDE);
});

describe("a pod with IPv6", () => {
  const bothFamilies = ["10.1.0.1/24", "fd00:1::1/64"];

  it("is refused on a path that is too narrow, with a hint at spec.mtu: 1280", async () => {
    const { a, b, podA, podB, routed } = await start();
    for (const name of LINKS) await routed.setMtu(name, NARROW);
    await seesPath(a, NARROW);
    const refused = await add(a, podA, bothFamilies);
    expect(refused.json?.msg).toMatch(
      /^L2tpSession shop\/lan: the path to 192\.0\.2\.2 carries packets of 1300 bytes, which leaves an MTU of 1246; IPv6 needs 1280, .*fd00:1::1\/64; set spec\.mtu: 1280 /,
    );
    expect(refused.stdout).not.toMatch(/\bE[A-Z]{4,}\b/);
    expect(await link(podA, "net1")).toBeUndefined();
    // The path is wide enough for a pod without IPv6.
    expectOk(await add(a, podA, ["10.1.0.1/24"]));
    expectOk(await remove(a, podA));
    for (const agent of [a, b]) {
      agent.write("lan.yaml", [sessionObject("lan", "t", { mtu: 1280 })]);
      await until("the session has the MTU", async () => {
        const session = await agent.session("shop/lan");
        return session?.mtu === 1280;
      });
    }
    expectOk(await add(a, podA, bothFamilies));
    expectOk(await add(b, podB, ["fd00:1::2/64"]));
    await until("the largest packets cross", () =>
      ping(podA, "fd00:1::2", { size: 1280 - 48, args: ["-M", "do"] }),
    );
  });

  it("is refused, too, if IPAM allocates the address, or if spec.mtu is too small", async () => {
    const { a, podA, routed } = await start();
    await routed.setMtu("first", NARROW);
    await seesPath(a, NARROW);
    const ranges = [[{ subnet: "fd00:1::/64" }]];
    const dataDir = `${a.folder}/ipam`;
    const refused = await addByIpam(a, podA, { type: "host-local", ranges, dataDir });
    expect(refused.json?.msg).toMatch(/packets of 1300 bytes.*spec\.mtu: 1280 /);
    expect(await link(podA, "net1")).toBeUndefined();
    a.write("lan.yaml", [sessionObject("lan", "t", { mtu: 1200 })]);
    await until("ADD fails because of spec.mtu", async () =>
      (await add(a, podA, bothFamilies)).json?.msg.includes("spec.mtu is 1200; IPv6 needs 1280"),
    );
  });

  it("keeps an MTU of at least 1280 when the MTU is derived again", async () => {
    const { a, podA, routed } = await start({ session: { mtu: 1400 } });
    expectOk(await add(a, podA, bothFamilies));
    await routed.setMtu("first", NARROW);
    await seesPath(a, NARROW);
    a.write("lan.yaml", [sessionObject("lan", "t")]);
    await until("the MTU changes", async () => (await mtuOf(podA)) !== 1400);
    expect(await mtuOf(podA)).toBe(1280);
    const addresses = (await link(podA, "net1"))?.addr_info?.map(({ local }) => local);
    expect(addresses).toContain("fd00:1::1");
  });
});

it("reports a path narrower than the MTU, and larger frames, by the doctor", async () => {
  const { a, podA, podB, routed } = await join();
  await routed.setMtu("first", NARROW);
  await seesPath(a, NARROW);
  const examine = async () => (await a.ask({ op: "doctor", seconds: 1 })).findings;
  const narrow = (await examine()).find(({ finding }) => finding.includes("for the path"));
  expect(narrow).toMatchObject({
    severity: "warning",
    object: "L2tpSession shop/lan",
    finding: "the MTU 1446 is too large for the path: large frames are fragmented",
    remedy: expect.stringContaining("spec.mtu to 1246 or less at both ends"),
  });
  a.write("lan.yaml", [sessionObject("lan", "t", { mtu: 1246 })]);
  await until("the MTU follows", async () => (await mtuOf(podA)) === 1246);
  expect((await examine()).filter(({ finding }) => /MTU/.test(finding))).toEqual([]);
  expect(await mtuOf(podB)).toBe(1446);
  const [findings] = await Promise.all([
    examine(),
    ping(podB, "10.1.0.1", { count: 5, size: 1300 }).catch(() => false),
  ]);
  expect(findings.find(({ finding }) => /larger than the MTU/.test(finding))).toMatchObject({
    severity: "error",
    finding: expect.stringContaining("larger than the MTU 1246"),
    remedy: expect.stringContaining("spec.mtu"),
  });
});
