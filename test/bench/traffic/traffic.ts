/** Our datapath beside other layer-2 tunnels, on one wire. */
import { TestAgent } from "../../harness/agent.ts";
import { TestNet } from "../../harness/net.ts";
import { Background } from "../../harness/run.ts";
import { processorShare, residentMebibytes } from "../processes.ts";
import { type Bound, median, type Report } from "../report.ts";
import {
  losslessDatagrams,
  processorsPerGigabyte,
  roundTrips,
  roundTripsUnderLoad,
  SECONDS,
  smallFrames,
  type Trips,
  tcp,
} from "./measures.ts";
import { benchSessions } from "./sessions.ts";
import {
  type Place,
  ready,
  type Side,
  startFastd,
  startOpenVpn,
  startOurs,
  startQemus,
  startVxlan,
} from "./sides.ts";
import { alternate } from "./turns.ts";

/** What the least of the tunnels leaves of the wire's. */
const OVERHEAD_BYTES = 100;
const JUMBO_BYTES = 9000;

export async function benchTraffic(net: TestNet, report: Report): Promise<void> {
  await compare(net, 1500, report);
  await benchSessions(net, report);
  const jumbo = await TestNet.create({ mtu: JUMBO_BYTES });
  try {
    await compare(jumbo, JUMBO_BYTES, report);
  } finally {
    await jumbo.remove();
  }
}

async function compare(net: TestNet, wire: number, report: Report): Promise<void> {
  const background = new Background();
  const agents = [new TestAgent(net.a), new TestAgent(net.b)] as const;
  const place: Place = { net, background, mtu: wire - OVERHEAD_BYTES };
  const isJumbo = wire > 1500;
  try {
    for (const agent of agents) await agent.start();
    const ours = await startOurs(place, agents, "UDP");
    const oursIp = await startOurs(place, agents, "IP");
    const vxlan = await startVxlan(place);
    const rivals: Rival[] = [
      { side: vxlan, bound: { least: 0.6 } },
      { side: await startFastd(place), bound: isJumbo ? {} : { least: 8 } },
      { side: await startOpenVpn(place), bound: isJumbo ? {} : { least: 8 } },
    ];
    // Its buffers are of 2 KiB.
    const qemus = isJumbo
      ? null
      : { udp: await startQemus(place, "UDP"), ip: await startQemus(place, "IP") };
    if (qemus !== null) rivals.unshift({ side: qemus.udp, bound: { least: 8 } });
    const all = [ours, oursIp, ...rivals.map(({ side }) => side), ...(qemus ? [qemus.ip] : [])];
    for (const side of all) await ready(side, background);
    await throughput(ours, rivals, report, isJumbo ? `, ${wire}-byte wire` : "");
    if (qemus === null) return;
    const overIp = await alternate([oursIp, qemus.ip], (side) => tcp(side, 1));
    report.add("TCP over IP", qemus.ip.name, pairOf(overIp), { least: 2 }, "Gbit/s");
    await frames(net, ours, qemus.udp, report);
    await footprint(ours, qemus.udp, report);
  } finally {
    await background.stopAll();
    for (const agent of agents) await agent.destroy();
  }
}

interface Rival {
  readonly side: Side;
  readonly bound: Bound;
}

async function throughput(
  ours: Side,
  rivals: readonly Rival[],
  report: Report,
  wire: string,
): Promise<void> {
  const sides = [ours, ...rivals.map(({ side }) => side)];
  const add = (work: string, results: number[][], unit: string, isBound: boolean) => {
    for (const [index, { side, bound }] of rivals.entries()) {
      const pair = [results[0] ?? [], results[index + 1] ?? []] as const;
      report.add(`${work}${wire}`, side.name, pair, isBound ? bound : {}, unit);
    }
  };
  for (const flows of [1, 8]) {
    const results = await alternate(sides, (side) => tcp(side, flows));
    add(`TCP, ${flows} flow${flows > 1 ? "s" : ""}`, results, "Gbit/s", true);
  }
  add("processors a gigabyte", await alternate(sides, processorsPerGigabyte), "s", false);
}

async function frames(net: TestNet, ours: Side, qemu: Side, report: Report): Promise<void> {
  const both = [ours, qemu];
  const small = await alternate(both, async ({ flooded }) =>
    flooded === undefined ? Number.NaN : smallFrames(net, flooded),
  );
  report.add("64-byte frames received", qemu.name, pairOf(small), { least: 1.5 }, "frames/s");
  const datagrams = await alternate(both, losslessDatagrams);
  const name = "UDP of 1,400 bytes, lossless";
  report.add(name, qemu.name, pairOf(datagrams), { least: 2 }, "thousand/s");
  for (const [load, measure] of [
    ["idle", (side: Side) => roundTrips(side)],
    ["under load", roundTripsUnderLoad],
  ] as const) {
    const trips = await alternate(both, measure);
    for (const share of ["p50", "p99"] as const) {
      const times = trips.map((side) => side.map((trip: Trips) => trip[share]));
      report.add(`ping, ${load}, ${share}`, qemu.name, pairOf(times), { most: 1 }, "ms");
    }
  }
}

/** What they take, with all the traffic behind them. */
async function footprint(ours: Side, qemu: Side, report: Report): Promise<void> {
  const [memory, theirs] = [ours, qemu].map(({ processes = [] }) =>
    residentMebibytes(processes),
  ) as [number, number];
  report.add("memory of both ends", qemu.name, [[memory], [theirs]], {}, "MiB");
  const [idle = [], theirIdle = []] = await alternate([ours, qemu], ({ processes = [] }) =>
    processorShare(processes, SECONDS),
  );
  const note = `QEMU's: ${median(theirIdle).toFixed(5)}`;
  report.addRatio("idle CPU of both ends", "a processor", median(idle), { most: 0.001 }, note);
}

const pairOf = <T>([one = [], two = []]: readonly T[][]) => [one, two] as const;
