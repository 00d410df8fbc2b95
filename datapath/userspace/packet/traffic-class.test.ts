import { expect, it } from "vitest";
import type { Tunnel } from "../../../model/model.ts";
import { Bench } from "./testing/bench.ts";

const ETHERNET = "ffffffffffff020000000001";
const ipv4 = (tos: string) => `${ETHERNET}080045${tos}${"00".repeat(44)}`;
const ipv6 = (head: string) => `${ETHERNET}86dd${head}${"00".repeat(44)}`;
const NO_IP = `${ETHERNET}0806${"00".repeat(46)}`;
const V6 = {
  local: { address: "2001:db8::1", port: 5000 },
  remote: { address: "2001:db8::2", port: 5000 },
};

function classes(tunnel: Partial<Tunnel>, hexes: readonly string[]): number[] {
  const bench = new Bench();
  const { state, device } = bench.put(tunnel, {});
  for (const hex of hexes) device.toRead.push(Buffer.from(hex, "hex"));
  while (device.toRead.length > 0) {
    bench.await(state.account);
    bench.path.transmitter.readDevice(state);
  }
  bench.path.queue.flush();
  const { socket } = bench.endpoint();
  expect(socket.sent).toHaveLength(hexes.length);
  return socket.classes;
}

it.each<[string, Partial<Tunnel>]>([
  ["UDP over IPv4", {}],
  ["UDP over IPv6", V6],
])("is that of the tunnel, over %s", (_what, tunnel) => {
  const frames = [ipv4("00"), ipv4("b8"), NO_IP];
  expect(new Set(classes({ ...tunnel, dscp: 46 }, frames))).toEqual(new Set([0xb8]));
  expect(new Set(classes(tunnel, frames))).toEqual(new Set([0]));
});

it("is copied from the datagram in each frame, without its ECN bits", () => {
  const vlan = `${ETHERNET}8100006408004588${"00".repeat(44)}`;
  const frames = [ipv4("b8"), ipv4("03"), ipv6("6b80"), vlan, NO_IP, `${ETHERNET}0800`];
  expect(classes({ dscp: "Copy" }, frames)).toEqual([0xb8, 0, 0xb8, 0x88, 0]);
});

it("separates segmented messages by traffic class", () => {
  expect(classes({ dscp: "Copy" }, [ipv4("b8"), ipv4("b8"), ipv4("00"), ipv4("b8")])).toEqual([
    ...[0xb8, 0, 0xb8],
  ]);
});

it("follows the source address in the control messages, at the socket of a prefix", () => {
  const prefix = { encapsulation: "IP", keyed: true, localPrefix: "2001:db8::/64" } as const;
  expect(classes({ ...V6, ...prefix, dscp: 46 }, [ipv4("00")])).toEqual([0xb8]);
});

it("has the ECN of the datagram in each frame if the tunnel propagates marks", () => {
  const frames = [ipv4("b8"), ipv4("b9"), ipv4("02"), ipv6("6b80"), ipv6("6bb0"), NO_IP];
  expect(classes({ ecn: true }, frames)).toEqual([0, 1, 2, 0, 3, 0]);
  expect(classes({ ecn: true, dscp: 46 }, [ipv4("02"), NO_IP])).toEqual([0xba, 0xb8]);
  expect(classes({ ecn: true, dscp: "Copy" }, [ipv4("8a"), ipv6("6b90")])).toEqual([0x8a, 0xb9]);
});
