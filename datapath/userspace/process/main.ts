/** l2tp-datapath: the process that forwards the packets. */
import { writeSync } from "node:fs";
import { flushCompileCache } from "node:module";
import { setFlagsFromString } from "node:v8";
import { Command, Option } from "commander";
import manifest from "../../../package.json" with { type: "json" };
import { fastPath } from "../fastpath/fast-path.ts";
import { serveControl } from "./control.ts";
import { DatapathProcess } from "./datapath-process.ts";

// Control messages leave garbage, unlike the packet path. Without this flag V8 keeps the memory of a flood.
setFlagsFromString("--memory-saver-mode");

const options = new Command("l2tp-datapath")
  .description("Forwards frames between TAP devices and L2TPv3 sessions.")
  .version(manifest.version)
  .requiredOption("--socket <path>", "control socket to listen on (mode 0600)")
  .addOption(
    new Option("--offload <on|off>", "segmentation offload: large frames and messages (GSO, GRO)")
      .choices(["on", "off"])
      .env("L2TP_DATAPATH_OFFLOAD")
      .default("on"),
  )
  .addOption(
    new Option(
      "--fast-path <on|off>",
      "BPF programs that forward the frames of tunnels with spec.fastPath",
    )
      .choices(["on", "off"])
      .env("L2TP_DATAPATH_FAST_PATH")
      .default("on"),
  )
  // Accepted for older configurations.
  .addOption(
    new Option("--threads <count>", "ignored: one thread serves all tunnels").env(
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

/** Writes synchronously: Node's event loop, which writes later, does not run. */
const log = (line: string) => {
  try {
    writeSync(2, `l2tp-datapath: ${line}\n`);
  } catch {
    // The log's reader exited (EPIPE) or is slow (EAGAIN): keep forwarding frames.
  }
};

// Node writes the cache at a regular exit, but this process is usually killed.
flushCompileCache();

try {
  if (threads !== undefined && threads !== "1") {
    log(`--threads ${threads} is ignored: one thread serves all tunnels`);
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
