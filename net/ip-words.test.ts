import { expect, it } from "vitest";
import { describeIp } from "./ip-words.ts";

const IPV4 = "45000014000040004001" + "0000c0000201c0000202";
const IPV6 = `6000000000003a40${"20010db8".padEnd(31, "0")}1${"20010db8".padEnd(31, "0")}2`;

it.each([
  [IPV4, { source: "192.0.2.1", destination: "192.0.2.2", protocol: "ICMP" }],
  [IPV4.replace("4001", "402f"), { protocol: "protocol 47" }],
  [IPV6, { source: "2001:db8::1", destination: "2001:db8::2", protocol: "ICMPv6" }],
  [IPV4.slice(0, 30), null],
  [`55${IPV4.slice(2)}`, null],
])("reads %s", (hex, expected) => {
  const words = describeIp(Buffer.from(`ffff${hex}`, "hex"), 2);
  if (expected === null) expect(words).toBeNull();
  else expect(words).toMatchObject(expected);
});
