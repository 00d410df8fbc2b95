/** A pod's own addresses, routes, MTU and name survive when the kernel deletes the device with its session. */
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { ManagedAgents } from "../harness/managed-agents.ts";
import { inside, ip, link } from "../harness/net.ts";
import { run } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

const NAME = "mine";
const MTU = 1300;

let pair: ManagedAgents;

interface IpRoute {
  readonly dst: string;
  readonly gateway?: string;
  readonly protocol?: string;
  readonly table?: string;
  readonly prefsrc?: string;
  readonly metric?: number;
  readonly flags: readonly string[];
}

beforeAll(async () => {
  pair = await ManagedAgents.create({ encapsulation: "UDP", family: "ipv4" });
});

afterEach((context) => {
  if (context.task.result?.state === "fail") console.log(...pair.agents.map(({ log }) => log));
});

afterAll(() => pair.destroy());

const inPod = (...command: string[]) => run(inside(pair.pods[0], ...command));

async function routes(): Promise<string[]> {
  const listed = await Promise.all(
    ["-4", "-6"].map((family) =>
      ip(pair.pods[0], family, "-j", "route", "show", "table", "all", "dev", NAME),
    ),
  );
  return listed
    .flatMap((text) => JSON.parse(text || "[]") as IpRoute[])
    .filter(({ protocol, table }) => protocol !== "kernel" && table !== "local")
    .map(({ dst, gateway, table, prefsrc, metric, flags }) =>
      JSON.stringify({ dst, gateway, table, prefsrc, metric, isOnLink: flags.includes("onlink") }),
    )
    .sort();
}

async function own() {
  const found = await link(pair.pods[0], NAME);
  const addresses = found?.addr_info?.map(({ local, prefixlen }) => `${local}/${prefixlen}`);
  return {
    mtu: found?.mtu,
    mac: found?.address,
    addresses: addresses?.filter((address) => !address.startsWith("fe80")).sort(),
    routes: await routes(),
  };
}

const index = async () => (await link(pair.pods[0], NAME))?.ifindex;
const isUp = async () => (await link(pair.pods[0], NAME))?.flags.includes("UP");

async function stays(before: Awaited<ReturnType<typeof own>>): Promise<void> {
  let now = before;
  await pair.crosses();
  await until(
    () => `the interface is as the pod configured it: ${JSON.stringify([before, now])}`,
    async () => {
      now = await own();
      return JSON.stringify(now) === JSON.stringify(before);
    },
  );
  await until("CHECK succeeds", () => pair.isWhole());
}

it("a pod changes its interface", async () => {
  pair.write(0);
  pair.write(1);
  for (const agent of pair.agents) await agent.start();
  await Promise.all([pair.attach(0), pair.attach(1)]);
  await pair.crosses();
  await inPod("ip", "link", "set", "net1", "down");
  await inPod("ip", "link", "set", "net1", "name", NAME, "mtu", String(MTU), "up");
  for (const address of ["10.9.0.1/24", "fd09::1/64", "fd00:1::1/64"]) {
    await inPod("ip", "addr", "add", address, "dev", NAME);
  }
  for (const route of [
    "10.8.0.1/32 dev mine src 10.9.0.1",
    "10.7.0.0/16 via 10.8.0.1 metric 50",
    "10.6.0.0/16 via 10.5.0.1 dev mine onlink table 100",
    "fd08::/64 via fd09::2",
  ]) {
    const family = route.startsWith("fd") ? "-6" : "-4";
    await inPod("ip", family, "route", "add", ...route.split(" "));
  }
  await until("the pod has its routes", async () => (await routes()).length === 4);
  await until("CHECK succeeds", () => pair.isWhole());
});

it("the changes survive restarts of the peer and of the agent", async () => {
  const [before, was] = [await own(), await index()];
  const [agent, peer] = pair.agents;
  await pair.killPeer();
  await until("the interface is down", async () => (await isUp()) === false);
  await until("CHECK succeeds", () => pair.isWhole());
  await agent.kill();
  await agent.start();
  await peer.start();
  await until("the device is recreated", async () => {
    const now = await index();
    return now !== undefined && now !== was;
  });
  await stays(before);
});

it("the changes survive the absence of the peer's pod", async () => {
  const [before, was] = [await own(), await index()];
  expect((await pair.call("DEL", 1)).status).toBe(0);
  await until("the interface is down", async () => (await isUp()) === false);
  await pair.attach(1);
  await stays(before);
  expect(await index()).toBe(was);
});

it("the changes survive a crash of the datapath process", async () => {
  const [before, was] = [await own(), await index()];
  process.kill(await pair.agents[0].datapathPid(), "SIGKILL");
  await until("the device is recreated", async () => {
    const now = await index();
    return now !== undefined && now !== was;
  });
  await stays(before);
});
