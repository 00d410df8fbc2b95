/** l2tp-datapath: the process that moves the packets. */
import { readFileSync } from "node:fs";
import { Command } from "commander";
import { serveControl } from "./control.ts";
import { Loop } from "./loop.ts";

const { version } = JSON.parse(
  readFileSync(new URL("../../package.json", import.meta.url), "utf8"),
) as { version: string };

const { socket } = new Command("l2tp-datapath")
  .description("Moves Ethernet frames between TAP devices and L2TPv3 sessions.")
  .version(version)
  .requiredOption("--socket <path>", "the control socket to listen on (mode 0600)")
  .parse()
  .opts<{ socket: string }>();

const loop = new Loop();
try {
  serveControl(loop, socket, version);
} catch (error) {
  process.stderr.write(`l2tp-datapath: ${error instanceof Error ? error.message : error}\n`);
  process.exit(1);
}
loop.run();
process.exit(0);
