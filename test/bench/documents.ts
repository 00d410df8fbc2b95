/** Generates charts, the report and the README's table from a bench's rows. */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { CHARTS, drawChart } from "./charts.ts";
import { describeBound, type Row, times } from "./report.ts";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));
export const RESULTS = "docs/bench/results.json";
const FOLDER = "docs/bench/";
const [BEGIN, END] = ["<!-- bench -->", "<!-- /bench -->"];

/** The README's rows. `fast`: the bench has a row with the fast path. */
const SUMMARY = [
  { title: "TCP, one flow", better: "more", work: "TCP, 1 flow", against: "kernel VXLAN" },
  { title: "TCP, one flow", better: "more", work: "TCP, 1 flow", against: "QEMU l2tpv3, UDP" },
  {
    title: "64-byte frames received",
    better: "more",
    work: "64-byte frames received",
    against: "QEMU l2tpv3, UDP",
  },
  {
    title: "processor time for a gigabyte",
    better: "less",
    work: "processors a gigabyte",
    against: "kernel VXLAN",
  },
  {
    title: "ping while idle, median",
    better: "less",
    work: "ping, idle, p50",
    against: "QEMU l2tpv3, UDP",
  },
  {
    title: "CNI ADD and DEL",
    better: "less",
    work: "CNI ADD+DEL",
    against: "bridge + host-local",
  },
] as const;

/** @returns the content of each file, by its path from the root; charts without their rows are omitted */
export function documentsOf(rows: readonly Row[], readme: string): ReadonlyMap<string, string> {
  const charts = CHARTS.flatMap((spec): [string, string][] => {
    const picture = drawChart(spec, rows);
    return picture === null ? [] : [[`${FOLDER}${spec.file}`, picture]];
  });
  return new Map([
    [RESULTS, `${JSON.stringify(rows, null, 2)}\n`],
    [`${FOLDER}report.md`, report(rows)],
    ["README.md", withTable(readme, summary(rows))],
    ...charts,
  ]);
}

/** Writes the files. @throws Error if the README has no place for the table */
export function renewDocuments(rows: readonly Row[]): void {
  const documents = documentsOf(rows, readFileSync(`${ROOT}README.md`, "utf8"));
  for (const [path, text] of documents) writeFileSync(`${ROOT}${path}`, text);
}

function withTable(readme: string, table: string): string {
  const [begin, end] = [readme.indexOf(BEGIN), readme.indexOf(END)];
  if (begin < 0 || end < begin) throw new Error(`README.md: no ${BEGIN} … ${END}`);
  return `${readme.slice(0, begin)}${BEGIN}\n\n${table}\n\n${readme.slice(end)}`;
}

function summary(rows: readonly Row[]): string {
  const cell = (work: string, against: string) => {
    const row = rows.find((item) => item.work === work && item.against === against);
    return row === undefined ? "–" : times(row.ratio);
  };
  const lines = SUMMARY.map(({ title, better, work, against }) => {
    const ours = [cell(work, against), cell(`${work}, fast path`, against)];
    return `| ${[title, better, against.replace(", UDP", ""), ...ours].join(" | ")} |`;
  });
  const head = "| what | better | beside | l2tp-cni | with the fast path |";
  return [head, "|---|---|---|---|---|", ...lines].join("\n");
}

/** The report page with all rows. */
export function report(rows: readonly Row[]): string {
  const lines = rows.map(({ work, against, ratio, bound, met, note }) => {
    const goal = bound.least === undefined && bound.most === undefined ? "–" : describeBound(bound);
    const isMet = goal === "–" ? "–" : met ? "yes" : "no";
    return `| ${[work, against, times(ratio), goal, isMet, note].join(" | ")} |`;
  });
  return `# Benchmark report

Every row of the last full \`make bench\`, which writes this page. Each ratio is l2tp-cni's median over the median of the
other side, from one run in turns on one machine. [How it is measured](../performance.md#measure-it-yourself).

| work | beside | ratio | goal | met | medians |
|---|---|---|---|---|---|
${lines.join("\n")}
`;
}
