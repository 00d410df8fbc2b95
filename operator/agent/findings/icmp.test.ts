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

/** @param counters what they have grown by */
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

it("names a port at which nobody listens, and how often the peer said so", () => {
  const icmpErrors = [refused(), refused()];
  expect(found({}, {}, { icmpErrors })).toMatch(
    /^L2tpTunnel t1: 192\.0\.2\.2 answered 2 times "port unreachable".*UDP port 5000; start the tunnel/,
  );
  expect(found({}, {}, { icmpErrors: [refused()] })).toContain("answered once");
});

it.each<[string, Partial<IcmpError>, RegExp]>([
  ["protocol", { what: "protocol", protocol: 115 }, /does not take IP protocol 115; .*l2tp_ip/],
  ["host", { what: "host", protocol: 115 }, /unreachable once: no host/],
  ["prohibited", { what: "prohibited", protocol: 115 }, /a firewall on the way/],
  ["network", { what: "network", protocol: 115 }, /a router has no route/],
])("names the other errors, too: %s", (_what, change, said) => {
  const icmpErrors = [refused(change)];
  expect(found({ encapsulation: "IP" }, {}, { icmpErrors })).toMatch(said);
});

it.each<[string, Partial<IcmpError>]>([
  ["another port of ours", { sourcePort: 5001 }],
  ["another host", { destination: "192.0.2.9" }],
  ["another address of ours", { source: "192.0.2.9" }],
  ["another protocol", { protocol: 115 }],
])("leaves an error alone that is about %s", (_what, change) => {
  expect(found({}, {}, { icmpErrors: [refused(change)] })).toBe("");
});

it("finds what goes out without a checksum over IPv6, and is not answered", () => {
  const unchecked = { ...IPV6, udpChecksum: false };
  expect(found(unchecked, { txPackets: 3 }, {})).toMatch(/no UDP checksum, and nothing comes back/);
  expect(found(unchecked, { txPackets: 3, rxPackets: 1 }, {})).toBe("");
  expect(found(unchecked, {}, {})).toBe("");
  expect(found({ udpChecksum: false }, { txPackets: 3 }, {})).toBe("");
  expect(found(IPV6, { txPackets: 3 }, {})).toBe("");
});

it("finds what the node drops for its checksum where nothing else comes", () => {
  const seen = { checksumErrors: 4 };
  expect(found(IPV6, { txPackets: 3 }, seen)).toMatch(/dropped 4 UDP datagrams over IPv6/);
  expect(found(IPV6, { rxPackets: 3 }, seen)).toBe("");
  expect(found({}, {}, seen)).toBe("");
  expect(found({ ...IPV6, encapsulation: "IP" }, {}, seen)).toBe("");
});
