/** l2tp-datapath: the process that moves the packets. */
import { Command } from "commander";
import manifest from "../../package.json" with { type: "json" };
import { serveControl } from "./control.ts";
import { Loop } from "./loop.ts";

const { socket } = new Command("l2tp-datapath")
  .description("Moves Ethernet frames between TAP devices and L2TPv3 sessions.")
  .version(manifest.version)
  .requiredOption("--socket <path>", "the control socket to listen on (mode 0600)")
  .parse()
  .opts<{ socket: string }>();

const loop = new Loop();
try {
  serveControl(loop, socket, manifest.version);
} catch (error) {
  process.stderr.write(`l2tp-datapath: ${error instanceof Error ? error.message : error}\n`);
  process.exit(1);
}
loop.run();
process.exit(0);
