/**
 * `node test/soak/flood.ts [MINUTES]`: ten minutes of control messages with the peer's address over each
 * encapsulation and IP version. The connection must stay up, a peer must reconnect as fast as without a
 * flood, and a minute later the process must have freed its memory. Exit status 1 otherwise. Requires root.
 */
import { setTimeout as pause } from "node:timers/promises";
import { residentMebibytes } from "../bench/processes.ts";
import { median } from "../bench/report.ts";
import { cleanUpWhenInterrupted } from "../harness/interrupted.ts";
import {
  controlOf,
  DEFAULT_PAUSES,
  ManagedPair,
  WIRES,
  type Wire,
} from "../harness/managed-pair.ts";
import { ping } from "../harness/net.ts";

/** Long timeouts, so that a busy machine does not make the peer look dead. */
const CONTROL = {
  ...{ secrets: ["733363726574"], helloMs: 2000, deadAfterMs: 10_000 },
  ...DEFAULT_PAUSES,
};
const MINUTE_MS = 60_000;
const LOOK_MS = 1000;
const TURNS = 5;
const MOST = { comeBack: 3, memory: 1.1 };

/** @returns the faults */
async function soak(wire: Wire, minutes: number): Promise<string[]> {
  const faults: string[] = [];
  const pair = await ManagedPair.create(wire, CONTROL);
  const memory = async () => residentMebibytes([await pair.a.pid()]);
  const comeBacks = async () => {
    const times: number[] = [];
    for (let turn = 0; turn < TURNS; turn++) times.push(await pair.comeBack());
    return times;
  };
  try {
    await pair.join();
    const timesBefore = await comeBacks();
    const before = await controlOf(pair.a);
    const memoryBefore = await memory();
    const seconds = minutes * 60;
    const { localConnectionId: connectionId, received: ns } = before;
    const end = await pair.flood("all", { connectionId, ns, seconds: seconds + 600 });
    for (const until = Date.now() + minutes * MINUTE_MS; Date.now() < until; ) {
      await pause(LOOK_MS);
      const now = await controlOf(pair.a);
      const crosses = await ping(pair.net.a.name, "10.1.0.2", { count: 3, args: ["-W", "10"] });
      if (!crosses) faults.push("frames were lost");
      if (now.localConnectionId === connectionId && now.state === "established") continue;
      faults.push(`the connection was lost; its state is ${now.state}`);
      break;
    }
    const { dropped, unauthenticated } = await controlOf(pair.a);
    const flooded = await comeBacks();
    await end();
    // The load of the machine may have changed since the flood started.
    const usual = [...timesBefore, ...(await comeBacks())];
    await pause(MINUTE_MS);
    const memoryAfter = await memory();
    const ratios = {
      comeBack: median(flooded) / median(usual),
      memory: memoryAfter / memoryBefore,
    };
    if (ratios.comeBack > MOST.comeBack)
      faults.push(`a peer took ${ratios.comeBack} times as long to reconnect`);
    if (ratios.memory > MOST.memory) faults.push(`${ratios.memory} times the memory`);
    console.log(
      `${dropped} messages dropped, ${unauthenticated} not signed; a peer reconnects in`,
      `${ratios.comeBack.toFixed(2)} times the usual time; memory a minute after:`,
      `${ratios.memory.toFixed(2)} times what it was (${memoryBefore.toFixed(1)} MiB)`,
    );
  } finally {
    await pair.destroy();
  }
  return faults;
}

cleanUpWhenInterrupted();
const [minutes = 10] = process.argv.slice(2).map(Number);
for (const wire of WIRES) {
  console.log(`over ${wire.encapsulation} and ${wire.family}:`);
  for (const fault of await soak(wire, minutes)) {
    console.log(`failed: ${fault}`);
    process.exitCode = 1;
  }
}
