import { expect, it } from "vitest";
import type { LinkInfo } from "../linux/netlink/link.ts";
import { bound, deviceToBind } from "./bound.ts";
import type { Network } from "./underlay.ts";

function link(index: number, name: string, change: Partial<LinkInfo> = {}): LinkInfo {
  return {
    ...{ index, name, kind: "", mtu: 1500, mac: "02:00:00:00:00:01", up: true },
    ...{ master: 0, alias: "", isEthernet: true, peer: 0 },
    ...{ isRunning: true, isPromiscuous: false, ...change },
  };
}

const RED = link(9, "red", { kind: "vrf", isEthernet: true });
const BRIDGE = link(8, "br0", { kind: "bridge" });
const LINKS = new Map([RED, BRIDGE].map((each) => [each.index, each]));

it.each<[string, LinkInfo, string, LinkInfo | null]>([
  ["none for a link without a master", link(7, "eth0"), "192.0.2.2", null],
  ["the VRF of a link", link(7, "eth0", { master: 9 }), "192.0.2.2", RED],
  ["a VRF that has the address itself", RED, "2001:db8::2", RED],
  ["none for the port of a bridge", link(7, "eth0", { master: 8 }), "192.0.2.2", null],
  ["none for a link whose master was deleted", link(7, "eth0", { master: 99 }), "192.0.2.2", null],
  ["none for IPv4's link-local addresses", link(7, "eth0"), "169.254.0.2", null],
])("the device to bind to is %s", (_what, of, remote, expected) => {
  expect(deviceToBind({ link: (index) => LINKS.get(index) }, of, remote)).toEqual(expected);
});

it.each([0, 9])(
  "the device to bind to is the link of a link-local remote (master %i)",
  (master) => {
    const eth0 = link(7, "eth0", { master });
    expect(deviceToBind({ link: (index) => LINKS.get(index) }, eth0, "fe80::2")).toBe(eth0);
  },
);

it("has the paths of sockets that are bound to a device, without the fast path", () => {
  const asked: unknown[] = [];
  const network: Network = {
    route(...args) {
      asked.push(args);
      return { link: 7, source: "192.0.2.1", mtu: undefined, type: "unicast" };
    },
    link: () => link(7, "eth0", { mtu: 1400 }),
    linkNamed: () => undefined,
  };
  expect(bound.pathTo(network, "192.0.2.2", "192.0.2.1")).toBeUndefined();
  expect(bound.pathTo(network, "192.0.2.2", "192.0.2.1", 9)).toMatchObject({
    ...{ egress: 7, mtu: 1400, isPlainEthernet: false },
  });
  expect(asked).toEqual([["192.0.2.2", "192.0.2.1", 9]]);
});
