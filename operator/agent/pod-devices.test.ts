import { describe, expect, it } from "vitest";
import type { PodDevice } from "../../model/attachments/attachment.ts";
import type { Link } from "../../model/plan.ts";
import { leftDevice } from "./pod-devices.ts";

const LINK: Link = {
  id: "l2tp:session:shop/lan",
  kind: "pseudowire",
  datapath: "Kernel",
  label: "",
  netns: "/run/netns/pod",
  name: "net1",
  mtu: 1446,
  mac: "02:00:00:00:00:01",
  up: true,
  bridge: null,
  addresses: [],
  routes: [],
};
const DOWN: Link = { ...LINK, up: false };
const KNOWN: PodDevice = {
  ...{ index: 7, kind: "pseudowire", datapath: "Kernel" },
  ...{ sessionId: 128, mtu: 1446, isLowered: false },
};

describe("a device that is down", () => {
  it.each<[string, PodDevice | null, Link | undefined, boolean]>([
    ["that was just created", null, undefined, true],
    ["that came from the node, where it is down", null, { ...DOWN, netns: null }, true],
    ["that was up in the pod", KNOWN, LINK, true],
    ["that the pod had set down", KNOWN, DOWN, false],
    ["that the agent had set down before", { ...KNOWN, isLowered: true }, DOWN, true],
  ])("%s: lowered by the agent?", (_what, known, before, isLowered) => {
    expect(leftDevice(known, DOWN, before, 7, 128).isLowered).toBe(isLowered);
  });

  it("is not lowered if it is up", () => {
    expect(leftDevice({ ...KNOWN, isLowered: true }, LINK, DOWN, 7, 128).isLowered).toBe(false);
  });
});

describe("what a device lost when the agent set it down", () => {
  const routes = [{ destination: "10.9.0.0/16", gateway: "10.1.0.2" }];
  const present = { ...LINK, addresses: ["10.1.0.1/24", "fd00::1/64"], routes };
  const kept = { addresses: ["fd00::1/64"], routes };

  it("is kept while the device is down, and if another device replaces it", () => {
    const lowered = leftDevice(KNOWN, DOWN, present, 7, 128);
    expect(lowered.kept).toEqual(kept);
    const still = { ...DOWN, addresses: ["10.1.0.1/24"] };
    expect(leftDevice(lowered, DOWN, still, 8, 129).kept).toEqual(kept);
    expect(leftDevice(lowered, DOWN, undefined, 8, 129).kept).toEqual(kept);
  });

  it("is not kept when the device is up, or if the pod had set it down", () => {
    const lowered: PodDevice = { ...KNOWN, isLowered: true, kept };
    expect(leftDevice(lowered, LINK, DOWN, 7, 128).kept).toBeUndefined();
    expect(leftDevice(KNOWN, DOWN, { ...present, up: false }, 7, 128).kept).toBeUndefined();
  });
});

describe("the MTU that the agent set last", () => {
  it.each<[string, Link, number]>([
    ["is the session's", LINK, 1400],
    ["is the previous one if the pod has chosen another", { ...LINK, mtu: 1280 }, 1446],
    [
      "is the session's for a device that was on the node",
      { ...LINK, netns: null, mtu: 1500 },
      1400,
    ],
  ])("%s", (_what, before, mtu) => {
    expect(leftDevice(KNOWN, { ...LINK, mtu: 1400 }, before, 7, 128).mtu).toBe(mtu);
  });
});
