/**
 * `make bench`: compares the datapath with QEMU's l2tpv3 and others, the CNI plugin with the reference
 * plugins, many sessions with few, and the kernel datapath with ip(8), alternating in one run. The results
 * are ratios of medians, since absolute numbers depend on the machine. A failed part is a row with its
 * error; the other parts run, and the exit status is 1. Arguments: some of cni, memory, traffic, scale,
 * managed, flood and kernel (default: all); `--out FOLDER` for the files; `--before FOLDER` compares the
 * memory with that of another checkout; `--docs` writes docs/bench/ and the README's table if all parts
 * succeed.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { cleanUpWhenInterrupted } from "../harness/interrupted.ts";
import { TestNet } from "../harness/net.ts";
import { benchCni } from "./cni.ts";
import { renewDocuments } from "./documents.ts";
import { benchFlood } from "./flood.ts";
import { benchKernel } from "./kernel.ts";
import { benchManaged } from "./managed.ts";
import { benchMemory } from "./memory.ts";
import { type Report, type Row, takeParts } from "./report.ts";
import { benchScale } from "./scale.ts";
import { benchTraffic } from "./traffic/traffic.ts";

/** The order matters: shared machines slow down after minutes of traffic. */
const PARTS = {
  cni: benchCni,
  memory: benchMemory,
  traffic: benchTraffic,
  scale: benchScale,
  managed: benchManaged,
  flood: benchFlood,
  kernel: benchKernel,
} as const;
type Part = keyof typeof PARTS;

const { positionals: asked, values } = parseArgs({
  allowPositionals: true,
  options: {
    out: { type: "string", default: "out" },
    before: { type: "string" },
    docs: { type: "boolean", default: false },
  },
});
const unknown = asked.find((name) => !Object.hasOwn(PARTS, name));
if (unknown !== undefined) {
  console.error(`unknown part ${unknown}; use ${Object.keys(PARTS).join(", ")}`);
  process.exit(2);
}
cleanUpWhenInterrupted();
const names = (asked.length > 0 ? asked : Object.keys(PARTS)) as Part[];
const onHosts = (name: Part) => async (report: Report) => {
  const net = await TestNet.create();
  try {
    await PARTS[name](net, report, values.before);
  } finally {
    await net.remove();
  }
};
process.exitCode = await takeParts(
  names.map((name) => [name, onHosts(name)]),
  values.out,
);
if (values.docs && asked.length === 0 && process.exitCode === 0) {
  renewDocuments(JSON.parse(readFileSync(`${values.out}/bench.json`, "utf8")) as Row[]);
  console.log("Wrote docs/bench/ and the README's table");
}
