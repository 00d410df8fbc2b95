import { expect, it } from "vitest";
import type { LinkInfo } from "../linux/netlink/link.ts";
import { plain } from "./plain.ts";
import type { Network } from "./underlay.ts";

const ETHERNET: LinkInfo = {
  ...{ index: 7, name: "eth0", kind: "", mtu: 1500, mac: "02:00:00:00:00:01", up: true },
  ...{ master: 0, alias: "", isEthernet: true, peer: 0 },
  ...{ isRunning: true, isPromiscuous: false },
};

function network(mtu: number | undefined, link: Partial<LinkInfo> | null): Network {
  const found = link === null ? undefined : { ...ETHERNET, ...link };
  return {
    route: () => ({ link: 7, source: "192.0.2.1", mtu, type: "unicast" }),
    link: () => found,
    linkNamed: () => found,
  };
}

it.each([
  ["of the link", undefined, {}, { mtu: 1500, isPlainEthernet: true }],
  ["of the route, if smaller", 1280, {}, { mtu: 1280, isPlainEthernet: true }],
  ["of the link, if smaller", 9000, {}, { mtu: 1500, isPlainEthernet: true }],
  [
    "of a link without Ethernet",
    undefined,
    { isEthernet: false, mtu: 1420 },
    { mtu: 1420, isPlainEthernet: false },
  ],
  ["of a link that is down", undefined, { up: false }, { mtu: 1500, isPlainEthernet: false }],
  ["of the route, if the link was deleted", 1400, null, { mtu: 1400, isPlainEthernet: false }],
  ["of Ethernet, if neither is known", undefined, null, { mtu: 1500, isPlainEthernet: false }],
])("has the MTU %s", (_what, routeMtu, link, expected) => {
  const path = plain.pathTo(network(routeMtu, link), "192.0.2.2");
  const rest = { source: "192.0.2.1", egress: 7, type: "unicast", overheadBytes: 0 };
  expect(path).toEqual({ ...rest, ...expected });
});
