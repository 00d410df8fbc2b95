/** l2tp-datapath: the process that moves the packets. */
import { writeSync } from "node:fs";
import { flushCompileCache } from "node:module";
import { setFlagsFromString } from "node:v8";
import { Command, Option } from "commander";
import manifest from "../../../package.json" with { type: "json" };
import { fastPath } from "../fastpath/fast-path.ts";
import { serveControl } from "./control.ts";
import { DatapathProcess } from "./datapath-process.ts";

// The packet path leaves no garbage, but control messages do: V8 would keep what a flood of them took.
setFlagsFromString("--memory-saver-mode");

const options = new Command("l2tp-datapath")
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
      "BPF programs for the frames of tunnels that ask for it (spec.fastPath)",
    )
      .choices(["on", "off"])
      .env("L2TP_DATAPATH_FAST_PATH")
      .default("on"),
  )
  // Older configurations set it.
  .addOption(
    new Option("--threads <count>", "ignored: one thread carries all tunnels").env(
      "L2TP_DATAPATH_THREADS",
    ),
  )
  .parse()
  .opts<{
    socket: string;
    offload: "on" | "off";
    fastPath: "on" | "off";
    threads?: string;
  }>();

const { socket, offload, threads } = options;

/** Writes at once: no event loop of Node's runs that would write it later. */
const log = (line: string) => {
  try {
    writeSync(2, `l2tp-datapath: ${line}\n`);
  } catch {
    // The log's reader is gone (EPIPE), or slow (EAGAIN): frames go on.
  }
};

// It is written when a process ends by itself, and this one is killed.
flushCompileCache();

try {
  if (threads !== undefined && threads !== "1") {
    log(`--threads ${threads} is ignored: one thread carries all tunnels`);
  }
  const datapath = new DatapathProcess({
    offload: offload === "on",
    bypass: fastPath,
    allowsBypass: options.fastPath === "on",
    log,
  });
  serveControl(datapath, socket, manifest.version);
  datapath.loop.run();
} catch (error) {
  log(error instanceof Error ? error.message : String(error));
  process.exit(1);
}
process.exit(0);
