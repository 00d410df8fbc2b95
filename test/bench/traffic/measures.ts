/** Measurements of one side. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { inside, ip, nameOf, type TestNet } from "../../harness/net.ts";
import { Background, run } from "../../harness/run.ts";
import { FLOOD_PORT, type Flooded, type Side } from "./sides.ts";

export const SECONDS = 2;
const FRAME_BYTES = 64;
const FLOOD = fileURLToPath(new URL("../../harness/flood.ts", import.meta.url));

interface Iperf {
  readonly end: {
    readonly sum_received: { readonly bits_per_second: number; readonly bytes: number };
    readonly sum: { readonly lost_percent: number; readonly bits_per_second: number };
  };
}

async function iperf({ from, address }: Side, ...args: string[]): Promise<Iperf> {
  return JSON.parse(await run(inside(from, "iperf3", "-c", address, "-J", ...args))) as Iperf;
}

/** TCP throughput in Gbit/s. */
export async function tcp(side: Side, flows: number): Promise<number> {
  const { end } = await iperf(side, "-t", String(SECONDS), "-P", String(flows));
  return end.sum_received.bits_per_second / 1e9;
}

/** Processor seconds of the whole machine for a gigabyte of one flow: sender, wire and receiver. */
export async function processorsPerGigabyte(side: Side): Promise<number> {
  const before = busySeconds();
  const { end } = await iperf(side, "-t", String(SECONDS));
  return (busySeconds() - before) / (end.sum_received.bytes / 1e9);
}

/** Reads user, nice, system, irq and softirq of /proc/stat, in ticks of 10 ms. */
function busySeconds(): number {
  const [, user, nice, system, , , irq, softirq] = readFileSync("/proc/stat", "utf8").split(/\s+/);
  return [user, nice, system, irq, softirq].reduce((sum, ticks) => sum + Number(ticks), 0) / 100;
}

const UDP_BYTES = 1400;
const LEAST_MBITS = 50;
const MOST_MBITS = 12_800;
const STEPS = 7;
const MAX_LOST_PERCENT = 0.1;
/** The machine's limit: iperf3 fails if it gets less than requested. */
const SOCKET_BUFFER = String(
  Math.min(
    2 << 20,
    ...["rmem_max", "wmem_max"].map((name) =>
      Number(readFileSync(`/proc/sys/net/core/${name}`, "utf8")),
    ),
  ),
);

/**
 * The highest rate with less than one datagram in a thousand lost, in thousands a second, by bisection. iperf3 has
 * large buffers, so that its own pauses lose nothing.
 */
export async function losslessDatagrams(side: Side): Promise<number> {
  let [low, high] = [LEAST_MBITS, MOST_MBITS];
  let best = 0;
  for (let step = 0; step < STEPS; step++) {
    const rate = Math.sqrt(low * high);
    const args = [
      "-u",
      "-b",
      `${Math.round(rate)}M`,
      "-l",
      String(UDP_BYTES),
      "-t",
      "1",
      "-w",
      SOCKET_BUFFER,
    ];
    const { end } = await iperf(side, ...args);
    // If the sender does not reach the rate, higher rates cannot be tested.
    if (end.sum.lost_percent <= MAX_LOST_PERCENT) {
      best = Math.max(best, end.sum.bits_per_second);
      low = rate;
    } else high = rate;
  }
  return best / 8 / UDP_BYTES / 1000;
}

export interface Trips {
  readonly p50: number;
  readonly p99: number;
}

/** Round-trip times in milliseconds. */
export async function roundTrips({ from, address }: Side, count = 1000): Promise<Trips> {
  const out = await run(inside(from, "ping", "-c", String(count), "-i", "0.002", address));
  const times = [...out.matchAll(/time=([\d.]+)/g)].map(([, time]) => Number(time));
  times.sort((a, b) => a - b);
  const at = (share: number) => times[Math.floor(times.length * share)] ?? Number.NaN;
  return { p50: at(0.5), p99: at(0.99) };
}

/** Round-trip times in milliseconds during a TCP flow in the same direction. */
export async function roundTripsUnderLoad(side: Side): Promise<Trips> {
  const background = new Background();
  background.start(inside(side.from, "iperf3", "-c", side.address, "-t", "60"));
  await new Promise((resolve) => setTimeout(resolve, 500));
  try {
    return await roundTrips(side, 500);
  } finally {
    await background.stopAll();
    // The server is busy until it detects the end of the flow.
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
}

/** Frames per second that arrive at the second host's devices during a flood from the first. */
export async function smallFrames(net: TestNet, flooded: Flooded): Promise<number> {
  const { namespace, device, port, sessionId, sessions = 1 } = flooded;
  const header = `00030000${sessionId.toString(16).padStart(8, "0")}`;
  // An unknown MAC address, so that neither stack processes the frames.
  const frame = `02000000000102000000000288b5${"00".repeat(FRAME_BYTES - 14)}`;
  const ends = [net.a.ipv4, String(FLOOD_PORT), net.b.ipv4, String(port)];
  const before = await receivedBy(namespace, device);
  const what = [header + frame, String(SECONDS), String(sessions)];
  await run(inside(net.a.name, process.execPath, FLOOD, ...ends, ...what));
  return ((await receivedBy(namespace, device)) - before) / SECONDS;
}

/** @param device a name, or the prefix of several names */
export async function receivedBy(namespace: string, device: string): Promise<number> {
  const json = await ip(nameOf(namespace), "-j", "-s", "link", "show");
  const links = JSON.parse(json) as { ifname: string; stats64: { rx: { packets: number } } }[];
  return links
    .filter(({ ifname }) => ifname.startsWith(device))
    .reduce((sum, { stats64 }) => sum + stats64.rx.packets, 0);
}
