/** Our datapath beside other layer-2 tunnels, on one wire. */
import { TestAgent } from "../../harness/agent.ts";
import type { TestNet } from "../../harness/net.ts";
import { TestNet as Net } from "../../harness/net.ts";
import { Background } from "../../harness/run.ts";
import type { Bound, Report } from "../report.ts";
import {
  losslessDatagrams,
  processorsPerGigabyte,
  roundTrips,
  roundTripsUnderLoad,
  smallFrames,
  type Trips,
  tcp,
} from "./measures.ts";
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

/** BENCH_RUNS=1 for a first look. */
const RUNS = Number(process.env.BENCH_RUNS ?? 5);
/** What the least of the tunnels leaves of the wire's. */
const OVERHEAD_BYTES = 100;
const JUMBO_BYTES = 9000;

export async function benchTraffic(net: TestNet, report: Report): Promise<void> {
  await compare(net, 1500, report);
  const jumbo = await Net.create({ mtu: JUMBO_BYTES });
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
  try {
    for (const agent of agents) await agent.start();
    const sides = {
      ours: await startOurs(place, agents, "UDP"),
      qemu: await startQemus(place, "UDP"),
      vxlan: await startVxlan(place),
      fastd: await startFastd(place),
      openvpn: await startOpenVpn(place),
      oursIp: await startOurs(place, agents, "IP"),
      qemuIp: await startQemus(place, "IP"),
    };
    for (const side of Object.values(sides)) await ready(side, background);
    await throughput(sides, report, wire === 1500 ? "" : `, ${wire}-byte wire`);
    if (wire === 1500) await frames(net, sides, report);
  } finally {
    await background.stopAll();
    for (const agent of agents) await agent.destroy();
  }
}

type Sides = Readonly<
  Record<"ours" | "qemu" | "vxlan" | "fastd" | "openvpn" | "oursIp" | "qemuIp", Side>
>;

async function throughput(sides: Sides, report: Report, wire: string): Promise<void> {
  const { ours, qemu, vxlan, fastd, openvpn, oursIp, qemuIp } = sides;
  const rivals: [Side, Bound][] = [
    [qemu, { least: 8 }],
    [vxlan, { least: 0.6 }],
    [fastd, { least: 8 }],
    [openvpn, { least: 8 }],
  ];
  for (const flows of [1, 8]) {
    const results = await alternate([ours, ...rivals.map(([side]) => side)], (side) =>
      tcp(side, flows),
    );
    for (const [index, [rival, bound]] of rivals.entries()) {
      const pair = [results[0] ?? [], results[index + 1] ?? []] as const;
      report.add(
        `TCP, ${flows} flow${flows > 1 ? "s" : ""}${wire}`,
        rival.name,
        pair,
        bound,
        "Gbit/s",
      );
    }
  }
  const overIp = await alternate([oursIp, qemuIp], (side) => tcp(side, 1));
  report.add(`TCP over IP${wire}`, qemuIp.name, pairOf(overIp), { least: 2 }, "Gbit/s");
  const processors = await alternate([ours, qemu, vxlan], processorsPerGigabyte);
  for (const [index, rival] of [qemu, vxlan].entries()) {
    const pair = [processors[0] ?? [], processors[index + 1] ?? []] as const;
    report.add(`processors a gigabyte${wire}`, rival.name, pair, {}, "s");
  }
}

async function frames(net: TestNet, { ours, qemu }: Sides, report: Report): Promise<void> {
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

const pairOf = <T>([one = [], two = []]: readonly T[][]) => [one, two] as const;

/** In turns, so that the machine's moods meet all; and not always in the same order. */
async function alternate<T>(
  sides: readonly Side[],
  measure: (side: Side) => Promise<T>,
): Promise<T[][]> {
  const results: T[][] = sides.map(() => []);
  const order = sides.map((_, index) => index);
  for (let run = 0; run < RUNS; run++) {
    for (const index of run % 2 === 0 ? order : [...order].reverse()) {
      results[index]?.push(await measure(sides[index] as Side));
    }
  }
  return results;
}
