import { expect, it } from "vitest";
import { checksumErrorsIn } from "./udp-statistics.ts";

it("finds the counter among others", () => {
  const text =
    "Udp6InErrors                    \t9\nUdp6InCsumErrors                \t7\nUdpLite6InCsumErrors            \t5\n";
  expect(checksumErrorsIn(text)).toBe(7);
  expect(checksumErrorsIn("Ip6InReceives 3\n")).toBe(0);
});
