import { expect, it } from "vitest";
import { kernelDeviceName, parseKernelDeviceName } from "./device-name.ts";

it.each(["Default", "None"] as const)("says sublayer %s and the id, in 15 bytes", (sublayer) => {
  const session = { sessionId: 0xffff_ffff, l2SpecificSublayer: sublayer };
  const name = kernelDeviceName(session);
  expect(name.length).toBeLessThanOrEqual(15);
  expect(parseKernelDeviceName(name)).toEqual(session);
});

it.each(["l2tpeth0", "l2tp-", "l2tp-0", "l2tp-1x", "eth0", "l2tn"])("is not %s", (name) => {
  expect(parseKernelDeviceName(name)).toBeUndefined();
});
