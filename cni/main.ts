/** l2tp: the CNI plugin. It reads environment and stdin, and prints a result on stdout. */
import { readFileSync, writeSync } from "node:fs";
import { CNI_VERSIONS } from "../operator/agent-protocol.ts";
import manifest from "../package.json" with { type: "json" };
import { run } from "./plugin.ts";

const USAGE = `l2tp is a CNI plugin. A container runtime calls it with CNI_COMMAND and other
variables in the environment, and a network configuration on stdin, for example:

  {"cniVersion": "1.0.0", "name": "branch", "type": "l2tp", "session": "lan",
   "ipam": {"type": "host-local", "subnet": "10.1.0.0/24"}}

Install it in the runtime's folder of CNI plugins, usually /opt/cni/bin.
`;

/** Does not use process.stdout: creating its stream takes longer than the rest of the start. */
function print(text: string): void {
  const bytes = Buffer.from(text);
  try {
    for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at);
  } catch (error) {
    // The reader closed stdout: no error.
    if ((error as NodeJS.ErrnoException).code !== "EPIPE") throw error;
  }
}

if (process.env.CNI_COMMAND === undefined && process.argv.includes("--version")) {
  print(`l2tp-cni ${manifest.version}, CNI ${CNI_VERSIONS.join(", ")}\n`);
  process.exit(0);
}
if (process.env.CNI_COMMAND === undefined) {
  process.stderr.write(USAGE);
  process.exit(process.argv.includes("--help") ? 0 : 1);
}
const { stdout, status } = await run(process.env, () => readFileSync(0, "utf8"));
print(stdout);
process.exit(status);
