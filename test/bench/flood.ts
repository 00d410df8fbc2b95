/**
 * Compares a managed tunnel during a flood of control messages with the same tunnel during a flood to an
 * unread port.
 */

import { openTunnelSocket } from "../../datapath/tunnel-socket.ts";
import { closeFd } from "../../linux/fd.ts";
import { inNetns } from "../../linux/netns.ts";
import { TestDatapath } from "../harness/datapath.ts";
import {
  controlOf,
  DEFAULT_PAUSES,
  established,
  FLOOD_PER_SECOND,
  ManagedPair,
  managedChanges,
  WIRES,
  type Wire,
} from "../harness/managed-pair.ts";
import { inside, type TestNet } from "../harness/net.ts";
import { Background, run } from "../harness/run.ts";
import { until } from "../harness/wait.ts";
import type { Report } from "./report.ts";
import { alternate } from "./traffic/turns.ts";

const SECONDS = 3;
const UNREAD_PORT = 9;
const UDP_BYTES = 1300;
const SIGNED = { secrets: ["733363726574"], ...DEFAULT_PAUSES };
const UNDER = `${FLOOD_PER_SECOND / 1000},000 control messages/s`;

/** Creates its own hosts, which are flooded. */
export async function benchFlood(_: TestNet, report: Report): Promise<void> {
  for (const wire of WIRES) {
    const pair = await ManagedPair.create(wire, SIGNED);
    try {
      const over = `over ${wire.encapsulation} and ${wire.family}`;
      await pair.join();
      await benchThroughput(pair, report, over);
      await benchComeBack(pair, report, over);
    } finally {
      await pair.destroy();
    }
  }
  await benchOther(report);
}

/** Starts a flood. @returns a function that ends the flood */
type Begin = (pair: ManagedPair) => Promise<() => Promise<void>>;

const floodPeer: Begin = async (pair) => {
  const { localConnectionId: connectionId, received: ns } = await controlOf(pair.a);
  return pair.flood("all", { connectionId, ns });
};

const floodUnread: Begin = (pair) => {
  const at = (address: string) => ({ address, port: UNREAD_PORT });
  const { family } = pair.wire;
  return pair.flood("all", {
    ...{ encapsulation: "UDP", from: at(pair.net.b[family]), to: at(pair.net.a[family]) },
  });
};

const noFlood: Begin = async () => async () => {};

async function during<T>(begin: Begin, pair: ManagedPair, work: () => Promise<T>): Promise<T> {
  const end = await begin(pair);
  try {
    return await work();
  } finally {
    await end();
  }
}

interface Iperf {
  readonly end: {
    readonly sum_received: { readonly bits_per_second: number };
  };
}

/** Throughput to the flooded host, in Gbit/s. */
async function throughput(net: TestNet, ...args: string[]): Promise<number> {
  const command = ["iperf3", "-c", "10.1.0.1", "-J", "-t", String(SECONDS), ...args];
  const { end } = JSON.parse(await run(inside(net.b.name, ...command))) as Iperf;
  return end.sum_received.bits_per_second / 1e9;
}

const WORK: readonly (readonly [string, readonly string[]])[] = [
  ["TCP", []],
  // More than the wire carries.
  ["UDP", ["-u", "-b", "1G", "-l", String(UDP_BYTES)]],
];

async function benchThroughput(pair: ManagedPair, report: Report, over: string): Promise<void> {
  const { net, wire } = pair;
  const background = new Background();
  const unread = { address: net.a[wire.family], port: UNREAD_PORT };
  const fd = inNetns(net.a.netns, () => openTunnelSocket("UDP", unread));
  try {
    background.start(inside(net.a.name, "iperf3", "-s"));
    await until("the server answers", () => throughput(net, "-P", "1"));
    for (const [name, args] of WORK) {
      const [flooded = [], other = []] = await alternate([floodPeer, floodUnread], (begin) =>
        during(begin, pair, () => throughput(net, ...args)),
      );
      const work = `${name} ${over}, ${UNDER}`;
      report.add(work, "an unread port", [flooded, other], { least: 0.8 }, "Gbit/s");
    }
  } finally {
    closeFd(fd);
    await background.stopAll();
  }
}

async function benchComeBack(pair: ManagedPair, report: Report, over: string): Promise<void> {
  const [flooded = [], usual = []] = await alternate([floodPeer, noFlood], (begin) =>
    during(begin, pair, () => pair.comeBack()),
  );
  const work = `a peer comes back ${over}, ${UNDER}`;
  report.add(work, "without", [flooded, usual], { most: 3 }, "ms");
}

/** Measures the set-up of a tunnel to another host while one is flooded. */
async function benchOther(report: Report): Promise<void> {
  const pair = await ManagedPair.create(WIRES[0] as Wire, SIGNED);
  const { a, net } = pair;
  const c = new TestDatapath(await net.addHost());
  const other = (ends: Parameters<typeof managedChanges>[2], initiates: boolean) =>
    managedChanges("other", pair.wire, ends, { initiates });
  try {
    await pair.join();
    await c.start();
    await a.apply(...other([net.a, c.host], false));
    const [flooded = [], usual = []] = await alternate([floodPeer, noFlood], (begin) =>
      during(begin, pair, async () => {
        const began = performance.now();
        await c.apply(...other([c.host, net.a], true));
        await established(c, "other");
        const took = performance.now() - began;
        await c.apply({ op: "deleteTunnel", name: "other" });
        return took;
      }),
    );
    const work = `another tunnel is set up, ${UNDER} to one`;
    report.add(work, "without", [flooded, usual], { most: 3 }, "ms");
  } finally {
    await c.destroy();
    await pair.destroy();
  }
}
