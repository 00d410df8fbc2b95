/** Compares the userspace datapath with other layer-2 tunnels, on one wire. */
import { TestAgent } from "../../harness/agent.ts";
import { TestNet } from "../../harness/net.ts";
import { Background } from "../../harness/run.ts";
import { processorShare, residentMebibytes } from "../processes.ts";
import { type Bound, median, type Report } from "../report.ts";
import { benchKeyed } from "./keyed.ts";
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
import { benchSwitch } from "./switch.ts";
import { alternate } from "./turns.ts";
import { benchTypes } from "./types.ts";

/** The largest overhead of the tunnels. */
const OVERHEAD_BYTES = 100;
const JUMBO_BYTES = 9000;

export async function benchTraffic(net: TestNet, report: Report): Promise<void> {
  await report.attempt("1500-byte wire", () => compare(net, 1500, report));
  await report.attempt("many sessions", () => benchSessions(net, report));
  await report.attempt("keyed circuits", () => benchKeyed(net, report));
  await report.attempt("pseudowire types", () => benchTypes(net, report));
  await report.attempt("switches", () => benchSwitch(report));
  await report.attempt(`${JUMBO_BYTES}-byte wire`, async () => {
    const jumbo = await TestNet.create({ mtu: JUMBO_BYTES });
    try {
      await compare(jumbo, JUMBO_BYTES, report);
    } finally {
      await jumbo.remove();
    }
  });
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
    const fast = await startOurs(place, agents, "fast path");
    const vlan = await startOurs(place, agents, "EthernetVLAN");
    const vxlan = await startVxlan(place);
    // VXLAN works in the kernel without UDP checksums, as the fast path.
    const rivals: Rival[] = [
      { side: vxlan, bound: {}, fastBound: { least: 0.6 } },
      { side: await startFastd(place), bound: isJumbo ? {} : { least: 8 } },
      { side: await startOpenVpn(place), bound: isJumbo ? {} : { least: 8 } },
    ];
    // Its buffers have 2 KiB.
    const qemus = isJumbo
      ? null
      : { udp: await startQemus(place, "UDP"), ip: await startQemus(place, "IP") };
    if (qemus !== null) rivals.unshift({ side: qemus.udp, bound: { least: 8 } });
    const all = [
      ours,
      oursIp,
      fast,
      vlan,
      ...rivals.map(({ side }) => side),
      ...(qemus ? [qemus.ip] : []),
    ];
    for (const side of all) await ready(side, background);
    await report.attempt("throughput", () =>
      throughput({ ours, fast }, rivals, report, isJumbo ? `, ${wire}-byte wire` : ""),
    );
    if (qemus === null) return;
    await report.attempt("EthernetVLAN", () => pseudowireTypes(vlan, ours, report));
    const { udp, ip } = qemus;
    await report.attempt("TCP over IP", async () => {
      const overIp = await alternate([oursIp, ip], (side) => tcp(side, 1));
      report.add("TCP over IP", ip.name, pairOf(overIp), { least: 2 }, "Gbit/s");
    });
    await report.attempt("frames", () => frames(net, { ours, fast }, udp, report));
    await report.attempt("footprint", () => footprint(ours, udp, report));
  } finally {
    await background.stopAll();
    for (const agent of agents) await agent.destroy();
  }
}

/** Compares a pseudowire type with Ethernet, with the same MTU for both. */
async function pseudowireTypes(side: Side, ethernet: Side, report: Report): Promise<void> {
  for (const flows of [1, 8]) {
    const results = await alternate([side, ethernet], (each) => tcp(each, flows));
    const work = `TCP, ${flows} flow${flows > 1 ? "s" : ""}, ${side.name.replace("ours, ", "")}`;
    report.add(work, "ours, Ethernet", pairOf(results), { least: 0.95 }, "Gbit/s");
  }
}

/** l2tp-cni by the process, and by the fast path. */
interface Ours {
  readonly ours: Side;
  readonly fast: Side;
}

interface Rival {
  readonly side: Side;
  readonly bound: Bound;
  /** The bound of the fast path; default: the same. */
  readonly fastBound?: Bound;
}

const FAST = ", fast path";

async function throughput(
  { ours, fast }: Ours,
  rivals: readonly Rival[],
  report: Report,
  wire: string,
): Promise<void> {
  const sides = [ours, fast, ...rivals.map(({ side }) => side)];
  const add = (work: string, results: number[][], unit: string, isBound: boolean) => {
    const [process = [], past = [], ...others] = results;
    for (const [index, { side, bound, fastBound = bound }] of rivals.entries()) {
      const theirs = others[index] ?? [];
      const name = `${work}${wire}`;
      report.add(name, side.name, [process, theirs], isBound ? bound : {}, unit);
      report.add(`${name}${FAST}`, side.name, [past, theirs], isBound ? fastBound : {}, unit);
    }
  };
  for (const flows of [1, 8]) {
    const results = await alternate(sides, (side) => tcp(side, flows));
    add(`TCP, ${flows} flow${flows > 1 ? "s" : ""}`, results, "Gbit/s", true);
  }
  add("processors a gigabyte", await alternate(sides, processorsPerGigabyte), "s", false);
}

async function frames(
  net: TestNet,
  { ours, fast }: Ours,
  qemu: Side,
  report: Report,
): Promise<void> {
  const both = [ours, qemu];
  const small = await alternate(both, async ({ flooded }) =>
    flooded === undefined ? Number.NaN : smallFrames(net, flooded),
  );
  report.add("64-byte frames received", qemu.name, pairOf(small), { least: 1.5 }, "frames/s");
  const [process = [], past = [], theirs = []] = await alternate(
    [ours, fast, qemu],
    losslessDatagrams,
  );
  const name = "UDP of 1,400 bytes, lossless";
  report.add(name, qemu.name, [process, theirs], { least: 2 }, "thousand/s");
  report.add(`${name}${FAST}`, qemu.name, [past, theirs], { least: 2 }, "thousand/s");
  for (const [load, measure] of [
    ["idle", (side: Side) => roundTrips(side)],
    ["under load", roundTripsUnderLoad],
  ] as const) {
    const trips = await alternate([ours, fast, qemu], measure);
    for (const share of ["p50", "p99"] as const) {
      const [process = [], past = [], theirs = []] = trips.map((side) =>
        side.map((trip: Trips) => trip[share]),
      );
      const name = `ping, ${load}, ${share}`;
      report.add(name, qemu.name, [process, theirs], { most: 1 }, "ms");
      report.add(`${name}${FAST}`, qemu.name, [past, theirs], { most: 1 }, "ms");
    }
  }
}

/** Compares memory and idle processor time, after all traffic. */
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
