/** l2tp-datapath: the process that moves the packets. */
import { writeSync } from "node:fs";
import { flushCompileCache } from "node:module";
import { setFlagsFromString } from "node:v8";
import { Command, InvalidArgumentError, Option } from "commander";
import manifest from "../../package.json" with { type: "json" };
import { serveControl } from "./control.ts";
import { Loop } from "./loop.ts";
import { Shard, type ShardOptions } from "./shard.ts";
import { Shards } from "./shards/shards.ts";

// The packet path leaves no garbage, but control messages do: V8 would keep what a flood of them took.
setFlagsFromString("--memory-saver-mode");

const MAX_THREADS = 64;

const { socket, offload, fastPath, threads } = new Command("l2tp-datapath")
  .description("Moves Ethernet frames between TAP devices and L2TPv3 sessions.")
  .version(manifest.version)
  .requiredOption("--socket <path>", "the control socket to listen on (mode 0600)")
  .addOption(
    new Option(
      "--offload <on|off>",
      "large frames and messages, which devices and kernel cut and join",
    )
      .choices(["on", "off"])
      .env("L2TP_DATAPATH_OFFLOAD")
      .default("on"),
  )
  .addOption(
    new Option(
      "--fast-path <on|off>",
      "BPF programs for the frames of tunnels that ask for it (spec.fastPath); on one thread",
    )
      .choices(["on", "off"])
      .env("L2TP_DATAPATH_FAST_PATH")
      .default("on"),
  )
  .addOption(
    new Option(
      "--threads <count>",
      "threads that carry frames; a tunnel is in one of them, by its remote address",
    )
      .env("L2TP_DATAPATH_THREADS")
      .default(1)
      .argParser(parseThreads),
  )
  .parse()
  .opts<{
    socket: string;
    offload: "on" | "off";
    fastPath: "on" | "off";
    threads: number;
  }>();

function parseThreads(text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count >= 1 && count <= MAX_THREADS) return count;
  throw new InvalidArgumentError(`It is a number from 1 to ${MAX_THREADS}.`);
}

// At once: no event loop of Node's runs that would write it later.
const log = (line: string) => writeSync(2, `l2tp-datapath: ${line}\n`);

// It is written when a process ends by itself, and this one is killed.
flushCompileCache();

try {
  const options: ShardOptions = { offload: offload === "on", fastPath: fastPath === "on", log };
  if (threads === 1) serveOne(options);
  else serveSeveral(threads, options);
} catch (error) {
  log(error instanceof Error ? error.message : String(error));
  process.exit(1);
}
process.exit(0);

/** All on this thread. */
function serveOne(options: ShardOptions): void {
  const shard = new Shard(options);
  serveControl(shard.loop, shard, socket, manifest.version);
  shard.loop.run();
}

/** This thread only answers the control socket. */
function serveSeveral(count: number, options: ShardOptions): void {
  const loop = new Loop();
  const shards = Shards.start(count, options);
  try {
    serveControl(loop, shards, socket, manifest.version);
    loop.run();
  } finally {
    shards.stop();
  }
}
