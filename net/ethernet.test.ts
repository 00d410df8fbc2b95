import { expect, it } from "vitest";
import { describeEthernet } from "./ethernet.ts";

const ADDRESSES = "020000000001020000000002";
const typeOf = (rest: string) => describeEthernet(Buffer.from(ADDRESSES + rest, "hex"), 0)?.type;

it("returns the source and destination of a frame", () => {
  expect(describeEthernet(Buffer.from(`ffff${ADDRESSES}080045`, "hex"), 2)).toEqual({
    destination: "02:00:00:00:00:01",
    source: "02:00:00:00:00:02",
    type: "IPv4",
  });
});

it.each([
  ["an IPv6 packet", "86dd60", "IPv6"],
  ["a number", "88b5", "0x88b5"],
  ["LLC", "0026424203", "LLC"],
  ["a tag", "81006007080645", "VLAN 7, ARP"],
  ["two tags", "88a8000581000007080045", "VLAN 5, VLAN 7, IPv4"],
  ["a tag that is cut short", "81000007", "VLAN 7, cut short"],
  ["less of a tag", "8100", "0x8100"],
])("names the type: %s", (_, rest, expected) => {
  expect(typeOf(rest)).toBe(expected);
});

it("rejects less than a header", () => {
  expect(typeOf("08")).toBeUndefined();
});
