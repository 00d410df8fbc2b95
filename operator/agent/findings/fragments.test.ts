import { expect, it } from "vitest";
import { aboutFragments, parseFragments } from "./fragments.ts";

const SNMP = `Ip: Forwarding DefaultTTL ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs
Ip: 1 64 0 40 18 3 7
Icmp: InMsgs InErrors
Icmp: 4 0
`;
const SNMP6 = `Ip6InReceives                   \t900
Ip6ReasmTimeout                 \t1
Ip6ReasmOKs                     \t20
Ip6ReasmFails                   \t2
`;

it("adds the counters of IPv4 and IPv6", () => {
  expect(parseFragments(SNMP, SNMP6)).toEqual({ whole: 38, failed: 5 });
  expect(parseFragments(SNMP, "")).toEqual({ whole: 18, failed: 3 });
  expect(parseFragments("", "")).toEqual({ whole: 0, failed: 0 });
});

it("reports only fragments that were lost during the examination", () => {
  const before = { whole: 38, failed: 5 };
  expect(aboutFragments("edge-1", before, { whole: 99, failed: 5 })).toEqual([]);
  expect(aboutFragments("edge-1", before, { whole: 48, failed: 7 })).toEqual([
    {
      severity: "warning",
      object: "node edge-1",
      finding: "2 datagrams lacked fragments and were dropped; 10 were reassembled",
      remedy: expect.stringContaining("set spec.mtu"),
    },
  ]);
});
