import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  addressKind,
  canonicalAddress,
  canonicalInterfaceAddress,
  canonicalNetwork,
  formatAddress,
  parseAddress,
  parsePrefix,
} from "./ip.ts";

describe("parseAddress", () => {
  it.each([
    ["192.0.2.1", "192.0.2.1"],
    ["::", "::"],
    ["::1", "::1"],
    ["2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["::ffff:192.0.2.1", "::ffff:c000:201"],
    ["1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"],
    ["fe80::", "fe80::"],
  ])("%s is %s", (text, canonical) => {
    expect(canonicalAddress(text)).toBe(canonical);
  });

  it.each([
    "",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.256",
    "01.2.3.4",
    "1.2.3.4/24",
    ":",
    ":::",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:8::",
    "12345::",
    "g::",
    "fe80::1%eth0",
    "1.2.3.4::",
  ])("rejects %j", (text) => {
    expect(parseAddress(text)).toBeUndefined();
  });

  it("parses every formatted address", () => {
    const bytes = fc.oneof(
      fc.uint8Array({ minLength: 4, maxLength: 4 }),
      fc.array(fc.constantFrom(0, 0, 0, 1, 255), { minLength: 16, maxLength: 16 }),
    );
    fc.assert(
      fc.property(bytes, (address) => {
        const written = formatAddress(Uint8Array.from(address));
        expect(parseAddress(written)).toEqual(Uint8Array.from(address));
      }),
    );
  });
});

it.each([
  ["192.0.2.1", "unicast"],
  ["127.0.0.1", "loopback"],
  ["0.0.0.0", "unspecified"],
  ["224.0.0.1", "multicast"],
  ["255.255.255.255", "broadcast"],
  ["::1", "loopback"],
  ["fe80::1", "link-local"],
  ["ff02::1", "multicast"],
  ["::ffff:192.0.2.1", "ipv4-mapped"],
  ["::ffff:0:192.0.2.1", "unicast"],
  ["2001:db8::1", "unicast"],
])("%s is %s", (text, kind) => {
  expect(addressKind(parseAddress(text) ?? new Uint8Array())).toBe(kind);
});

it("parses prefixes", () => {
  expect(parsePrefix("10.0.0.1/24")).toEqual({
    address: Uint8Array.of(10, 0, 0, 1),
    length: 24,
  });
  for (const bad of ["10.0.0.1", "10.0.0.1/33", "x/8", "::1/129", "/8"]) {
    expect(parsePrefix(bad)).toBeUndefined();
  }
});

it.each([
  ["fd00:0::1/64", "fd00::1/64", "fd00::/64"],
  ["10.1.2.3/23", "10.1.2.3/23", "10.1.2.0/23"],
  ["10.1.2.3/0", "10.1.2.3/0", "0.0.0.0/0"],
  ["::ffff:1/127", "::ffff:1/127", "::ffff:0/127"],
])("formats %s as the kernel does, with and without host bits", (text, prefix, network) => {
  expect(canonicalInterfaceAddress(text)).toBe(prefix);
  expect(canonicalNetwork(text)).toBe(network);
});
