import { expect, it } from "vitest";
import { kernelDeviceName, parseKernelDeviceName } from "./device-name.ts";

const SUBLAYERS = ["Default", "None"] as const;
const TYPES = [
  [undefined, "t"],
  ["EthernetVLAN", "q"],
] as const;
const CASES = SUBLAYERS.flatMap((sublayer) =>
  TYPES.map(([pseudowireType, letter]) => ({ sublayer, pseudowireType, letter })),
);

it.each(CASES)(
  "encodes sublayer $sublayer, type $pseudowireType and the session ID in 15 bytes",
  ({ sublayer, pseudowireType, letter }) => {
    const session = { sessionId: 0xffff_ffff, l2SpecificSublayer: sublayer };
    const name = kernelDeviceName({ ...session, ...(pseudowireType && { pseudowireType }) });
    expect(name.length).toBeLessThanOrEqual(15);
    expect(parseKernelDeviceName(name)).toEqual({ ...session, letter });
  },
);

it("gives Ethernet devices the same names as earlier versions", () => {
  expect(kernelDeviceName({ sessionId: 7, l2SpecificSublayer: "Default" })).toBe("l2tp-7");
  expect(kernelDeviceName({ sessionId: 7, l2SpecificSublayer: "None" })).toBe("l2tn-7");
});

it.each(["l2tpeth0", "l2tp-", "l2tp-0", "l2tp-1x", "eth0", "l2tn"])("rejects %s", (name) => {
  expect(parseKernelDeviceName(name)).toBeUndefined();
});
