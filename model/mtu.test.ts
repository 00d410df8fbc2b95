import { expect, it } from "vitest";
import { pseudowireMtu } from "./mtu.ts";

/** Measured on Linux 6.1's l2tpeth over an underlay of 1500: v4 UDP, v4 IP, v6 UDP, v6 IP. */
const KERNEL_MTUS = [
  ["None", 0, [1450, 1462, 1430, 1442]],
  ["None", 4, [1446, 1458, 1426, 1438]],
  ["None", 8, [1442, 1454, 1422, 1434]],
  ["Default", 0, [1446, 1458, 1426, 1438]],
  ["Default", 4, [1442, 1454, 1422, 1434]],
  ["Default", 8, [1438, 1450, 1418, 1430]],
] as const;
const COLUMNS = [
  [4, "UDP"],
  [4, "IP"],
  [6, "UDP"],
  [6, "IP"],
] as const;

const cases = KERNEL_MTUS.flatMap(([l2SpecificSublayer, txCookieBytes, mtus]) =>
  COLUMNS.map(([family, encapsulation], column) => ({
    shape: { family, encapsulation, l2SpecificSublayer, txCookieBytes },
    mtu: mtus[column],
  })),
);

it("tests all 24 combinations", () => expect(cases).toHaveLength(24));

it.each(cases)("equals the kernel's MTU: $mtu for $shape", ({ shape, mtu }) => {
  expect(pseudowireMtu(1500, shape)).toBe(mtu);
  expect(pseudowireMtu(1500, shape, 1)).toBe((mtu ?? 0) - 4);
  expect(pseudowireMtu(1500, shape, 2)).toBe((mtu ?? 0) - 8);
});

it("equals the kernel's MTU on a jumbo underlay", () => {
  const shape = {
    family: 4,
    encapsulation: "UDP",
    l2SpecificSublayer: "Default",
    txCookieBytes: 0,
  } as const;
  expect(pseudowireMtu(9000, shape)).toBe(8946);
});
