/**
 * `make bench`: our datapath beside QEMU's l2tpv3, our CNI plugin beside the reference ones, many
 * sessions beside few, and the kernel data plane beside ip(8); in one run, alternating. Ratios of
 * medians; absolute numbers say little about another machine. A part that fails is a row that says
 * why; the others go on, and the exit status is 1. Arguments: which of cni, memory, traffic, scale,
 * managed, flood and kernel, all where there is none; `--out FOLDER` for the files; `--before FOLDER`
 * compares the memory with that of another checkout; `--docs` renews docs/bench/ and the README's table
 * when all parts have been measured.
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

/** Processes first: shared machines slow down after minutes of traffic. */
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
  console.error(`no bench ${unknown}; there are ${Object.keys(PARTS).join(", ")}`);
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
  console.log("Renewed docs/bench/ and the README's table");
}
