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

describe("a device that was left down", () => {
  it.each<[string, PodDevice | null, Link | undefined, boolean]>([
    ["that was made just now", null, undefined, true],
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

describe("the MTU that the agent set last", () => {
  it.each<[string, Link, number]>([
    ["is the session's", LINK, 1400],
    ["is the one before if the pod has chosen another", { ...LINK, mtu: 1280 }, 1446],
    [
      "is the session's for a device that was on the node",
      { ...LINK, netns: null, mtu: 1500 },
      1400,
    ],
  ])("%s", (_what, before, mtu) => {
    expect(leftDevice(KNOWN, { ...LINK, mtu: 1400 }, before, 7, 128).mtu).toBe(mtu);
  });
});
