/** l2tp-datapath: the process that moves the packets. */
import { Command, Option } from "commander";
import manifest from "../../package.json" with { type: "json" };
import { serveControl } from "./control.ts";
import { Loop } from "./loop.ts";

const { socket, offload } = new Command("l2tp-datapath")
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
  .parse()
  .opts<{ socket: string; offload: "on" | "off" }>();

const log = (line: string) => process.stderr.write(`l2tp-datapath: ${line}\n`);
const loop = new Loop({ offload: offload === "on", log });
try {
  serveControl(loop, socket, manifest.version);
} catch (error) {
  log(error instanceof Error ? error.message : String(error));
  process.exit(1);
}
loop.run();
process.exit(0);
