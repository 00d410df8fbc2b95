import { expect, it } from "vitest";
import type { Listing, TunnelState } from "../../../datapath/datapath.ts";
import type { IcmpError } from "../../../linux/icmp.ts";
import {
  createEndpointCounters,
  createSessionCounters,
  type SessionCounters,
  type Tunnel,
} from "../../../model/model.ts";
import { session, tunnel } from "../../../model/testdata.ts";
import { type UnderlaySeen, underlayFindings } from "./icmp.ts";

const NOTHING: UnderlaySeen = { icmpErrors: [], checksumErrors: 0 };
const IPV6 = {
  local: { address: "2001:db8::1", port: 5000 },
  remote: { address: "2001:db8::2", port: 5001 },
};

function listing(change: Partial<Tunnel>, counters: Partial<SessionCounters> = {}): Listing {
  const state: TunnelState = {
    tunnel: tunnel(change),
    endpoint: createEndpointCounters(),
    lastSendError: null,
    lastUnknownSession: null,
    lastStranger: null,
  };
  const of = { datapath: "Userspace", deviceOpen: true, receiving: true };
  const more = { lastReceivedMsAgo: null, resyncs: 0 };
  const each = { ...createSessionCounters(), ...counters };
  return { tunnels: [state], sessions: [{ session: session(), ...of, ...more, counters: each }] };
}

/** @param counters the growth of the session's counters */
function found(
  change: Partial<Tunnel>,
  counters: Partial<SessionCounters>,
  seen: Partial<UnderlaySeen>,
): string {
  const after = listing(change, counters);
  const findings = underlayFindings(listing(change), after, { ...NOTHING, ...seen });
  return findings.map(({ object, finding, remedy }) => `${object}: ${finding}; ${remedy}`).join();
}

const refused = (change: Partial<IcmpError> = {}): IcmpError => ({
  ...{ what: "port", source: "192.0.2.1", destination: "192.0.2.2", protocol: 17 },
  ...{ sourcePort: 5000, destinationPort: 5000 },
  ...change,
});

it("names a port without a listener, and the number of answers", () => {
  const icmpErrors = [refused(), refused()];
  expect(found({}, {}, { icmpErrors })).toMatch(
    /^L2tpTunnel t1: 192\.0\.2\.2 answered 2 times "port unreachable".*UDP port 5000; start the tunnel/,
  );
  expect(found({}, {}, { icmpErrors: [refused()] })).toContain("answered once");
});

it.each<[string, Partial<IcmpError>, RegExp]>([
  ["protocol", { what: "protocol", protocol: 115 }, /does not accept IP protocol 115; .*l2tp_ip/],
  ["host", { what: "host", protocol: 115 }, /unreachable once: no host/],
  ["prohibited", { what: "prohibited", protocol: 115 }, /a firewall on the path/],
  ["network", { what: "network", protocol: 115 }, /a router has no route/],
])("explains the ICMP error %s", (_what, change, said) => {
  const icmpErrors = [refused(change)];
  expect(found({ encapsulation: "IP" }, {}, { icmpErrors })).toMatch(said);
});

it.each<[string, Partial<IcmpError>]>([
  ["another local port", { sourcePort: 5001 }],
  ["another host", { destination: "192.0.2.9" }],
  ["another local address", { source: "192.0.2.9" }],
  ["another protocol", { protocol: 115 }],
])("ignores an ICMP error about %s", (_what, change) => {
  expect(found({}, {}, { icmpErrors: [refused(change)] })).toBe("");
});

it("finds datagrams over IPv6 without a checksum if nothing is received", () => {
  const unchecked = { ...IPV6, udpChecksum: false };
  expect(found(unchecked, { txPackets: 3 }, {})).toMatch(
    /without a UDP checksum, and receives nothing/,
  );
  expect(found(unchecked, { txPackets: 3, rxPackets: 1 }, {})).toBe("");
  expect(found(unchecked, {}, {})).toBe("");
  expect(found({ udpChecksum: false }, { txPackets: 3 }, {})).toBe("");
  expect(found(IPV6, { txPackets: 3 }, {})).toBe("");
});

it("finds datagrams that the node drops for their checksum if nothing else is received", () => {
  const seen = { checksumErrors: 4 };
  expect(found(IPV6, { txPackets: 3 }, seen)).toMatch(/dropped 4 UDP datagrams over IPv6/);
  expect(found(IPV6, { rxPackets: 3 }, seen)).toBe("");
  expect(found({}, {}, seen)).toBe("");
  expect(found({ ...IPV6, encapsulation: "IP" }, {}, seen)).toBe("");
});
