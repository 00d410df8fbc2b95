import { expect, it } from "vitest";
import { barsOf, CHARTS, drawChart, type Figure } from "./charts.ts";

const WORK = "TCP, 1 flow";
const figure = (work: string, against: string, ratio: number | null): Figure => ({
  work,
  against,
  ratio,
});
const ROWS = [
  figure(WORK, "kernel VXLAN", 0.5),
  figure(`${WORK}, fast path`, "kernel VXLAN", 0.9),
  figure(WORK, "QEMU l2tpv3, UDP", 10),
  figure(WORK, "fastd null@l2tp", 5),
  figure(WORK, "OpenVPN, no cipher", 20),
];

it("scales all sides to the kernel's VXLAN", () => {
  const values = barsOf(WORK, ROWS)?.map(({ side, value }) => [side, value]);
  expect(values).toEqual([
    ["l2tp-cni, fast path", 0.9],
    ["l2tp-cni, process", 0.5],
    ["Linux kernel VXLAN", 1],
    ["QEMU l2tpv3", 0.05],
    ["fastd, no cipher", 0.1],
    ["OpenVPN, no cipher", 0.025],
  ]);
});

it("shows each side's name and figure, and which direction is better", () => {
  const [spec] = CHARTS;
  if (spec === undefined) throw new Error("no chart");
  const picture = drawChart(spec, ROWS) ?? "";
  expect(picture).toMatch(/>l2tp-cni, fast path<.*\n.*\n.*>0\.90 ×</);
  expect(picture).toMatch(/>QEMU l2tpv3<.*\n.*\n.*>0\.05 ×</);
  expect(picture).toContain("More is better");
  expect(picture.match(/<rect x=/g)).toHaveLength(6);
});

it.each([
  ["is missing", ROWS.slice(1)],
  ["could not be measured", [figure(WORK, "kernel VXLAN", null), ...ROWS.slice(1)]],
])("draws nothing if a row %s", (_what, rows) => {
  expect(barsOf(WORK, rows)).toBeNull();
  expect(CHARTS.map((spec) => drawChart(spec, rows))).toEqual([null, null]);
});
