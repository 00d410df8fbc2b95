import { expect, it } from "vitest";
import type { Listing, SessionState, TunnelState } from "../../datapath/datapath.ts";
import { createEndpointCounters, createSessionCounters } from "../../model/model.ts";
import { session, tunnel, tunnelControl } from "../../model/testdata.ts";
import { diagnose } from "./doctor.ts";
import type { NodeKnowledge } from "./findings/picture.ts";
import type { TunnelWire } from "./findings/wire.ts";

const around: NodeKnowledge = {
  noRoute: () => null,
  fittingMtu: () => null,
  device: () => ({ place: "net1 of shop/web-0", up: true }),
  isAttached: () => true,
  nodeInterface: () => null,
};

interface Case {
  readonly of?: Partial<SessionState>;
  /** The growth of the session's counters. */
  readonly grown?: Partial<SessionState["counters"]>;
  readonly tunnel?: Partial<TunnelState>;
  readonly endpoint?: Partial<TunnelState["endpoint"]>;
  readonly around?: Partial<NodeKnowledge>;
  /** The capture between the two snapshots. */
  readonly wire?: Partial<TunnelWire>;
}

const NO_WIRE: TunnelWire = {
  ...{ received: 0, sent: 0, controlMessages: 0, sessions: new Map(), rightMessages: new Map() },
  unknownSessions: { count: 0, last: null },
  otherSources: { count: 0, last: null },
  otherPorts: { count: 0, last: null },
};

function listing({ of, tunnel: change }: Case, counters: object, endpoint: object): Listing {
  const state: SessionState = {
    session: session(),
    datapath: "Userspace",
    deviceOpen: true,
    receiving: true,
    counters: { ...createSessionCounters(), rxPackets: 7, ...counters },
    lastReceivedMsAgo: 100,
    resyncs: 0,
    ...of,
  };
  const tunnelState: TunnelState = {
    tunnel: tunnel(),
    endpoint: { ...createEndpointCounters(), ...endpoint },
    lastSendError: null,
    lastUnknownSession: 4711,
    lastStranger: null,
    ...change,
  };
  return { tunnels: [tunnelState], sessions: [state] };
}

/** Returns the findings of two snapshots, between which the counters grew. */
function examine(given: Case) {
  const old = Object.fromEntries(Object.keys(given.grown ?? {}).map((name) => [name, 40]));
  const grown = Object.fromEntries(
    Object.entries(given.grown ?? {}).map(([name, by]) => [name, 40 + (by ?? 0)]),
  );
  const before = listing(given, old, {});
  const after = listing(given, grown, given.endpoint ?? {});
  const wires = new Map(given.wire ? [["t1", { ...NO_WIRE, ...given.wire }]] : []);
  return diagnose(before, after, { ...around, ...given.around }, wires);
}

it("finds nothing without faults, and ignores faults before the examination", () => {
  expect(examine({})).toEqual([]);
  expect(examine({ grown: { rxCookieDiscards: 0, rxOosPackets: 0, rxOversize: 0 } })).toEqual([]);
});

const vlanSession = session({
  pseudowireType: "EthernetVLAN",
  vlan: { id: 100, peerId: 200, pod: "Tagged" },
});

it.each<[string, Case, RegExp, RegExp]>([
  [
    "no route",
    { around: { noRoute: () => "ENETUNREACH" } },
    /^no route to the remote 192\.0\.2\.2 \(ENETUNREACH\)/,
    /add a route/,
  ],
  [
    "sending fails",
    { tunnel: { lastSendError: "EPERM" } },
    /^sending to .* fails: EPERM/,
    /firewall/,
  ],
  [
    "unknown session",
    { endpoint: { rxUnknownSession: 3 } },
    /^received 3 messages.*session ID, the last with 4711/,
    /sessionId/,
  ],
  [
    "no fast path",
    { tunnel: { tunnel: tunnel({ fastPath: true }) }, of: { fastPath: false } },
    /^its frames do not use the fast path/,
    /Linux 6\.6/,
  ],
  [
    "no fast path for IP datagrams",
    {
      tunnel: { tunnel: tunnel({ fastPath: true }) },
      of: { fastPath: false, session: session({ pseudowireType: "IP" }) },
    },
    /^its frames do not use the fast path: .*Ethernet frames.* IP$/,
    /without spec\.fastPath/,
  ],
  ["control messages", { endpoint: { rxControl: 2 } }, /^received 2 control messages/, /static/],
  [
    "wrong cookie",
    { grown: { rxCookieDiscards: 5 } },
    /^received 5 frames with a wrong cookie/,
    /spec\.cookies\.receive/,
  ],
  [
    "sequence loss",
    { grown: { rxOosPackets: 4, rxSeqDiscards: 1 } },
    /^missed 4 sequence numbers, dropped 1 frames/,
    /reorderTimeout/,
  ],
  [
    "MTU too large for the path",
    { around: { fittingMtu: () => 1400 } },
    /MTU 1446 is too large for the path/,
    /1400 or less/,
  ],
  ["frames above the MTU", { grown: { rxOversize: 2 } }, /^dropped 2 .* larger .* 1446/, /MTU/],
  [
    "nothing received for a while",
    { of: { lastReceivedMsAgo: 61_000 } },
    /received nothing for 61 s/,
    /firewall/,
  ],
  [
    "nothing received ever",
    { of: { lastReceivedMsAgo: null } },
    /received nothing so far/,
    /peer is up/,
  ],
  [
    "device down",
    { around: { device: () => ({ place: "net1 of shop/web-0", up: false }) } },
    /device net1 of shop\/web-0 is down/,
    /agent/,
  ],
  ["device missing", { around: { device: () => null } }, /device missing/, /agent/],
  ["device lost", { of: { deviceOpen: false } }, /device missing/, /agent/],
  [
    "an unexpected sublayer",
    { of: { session: session({ l2SpecificSublayer: "None" }) }, grown: { rxSublayerSuspect: 1 } },
    /the peer sends an L2-specific sublayer; this session expects None/,
    /l2SpecificSublayer/,
  ],
  [
    "a missing sublayer",
    { grown: { rxSublayerSuspect: 1 } },
    /the peer sends no L2-specific sublayer; this session expects Default/,
    /l2SpecificSublayer/,
  ],
  [
    "an unexpected source",
    {
      tunnel: { lastStranger: { address: "192.0.2.9", port: 77, msAgo: 5 } },
      grown: { rxSourceMismatch: 6 },
    },
    /^received 6 frames from unexpected source 192\.0\.2\.9 port 77/,
    /spec\.remote/,
  ],
  [
    "an unexpected source that another thread heard",
    {
      tunnel: {
        lastStranger: { address: "192.0.2.9", port: 77, msAgo: 5 },
        lastUnknownSession: null,
      },
      endpoint: { rxUnknownSession: 6 },
    },
    /^received 6 frames from unexpected source 192\.0\.2\.9 port 77/,
    /spec\.remote/,
  ],
  [
    "frames with another source address than the pod's",
    { grown: { txSpoofed: 4 } },
    /^dropped 4 frames of pods: source/,
    /macSpoofing: Allow/,
  ],
  [
    "untagged frames",
    { grown: { rxUntagged: 3 } },
    /^dropped 3 received frames without a VLAN tag/,
    /type/,
  ],
  [
    "frames of another VLAN",
    { of: { session: vlanSession }, grown: { rxOtherVlan: 3 } },
    /^dropped 3 received frames with a VLAN ID other than 200/,
    /spec\.vlan\.peerId/,
  ],
  [
    "a pod's frames without its tag",
    { of: { session: vlanSession }, grown: { txUntagged: 2, txOtherVlan: 3 } },
    /^dropped 5 frames of pods: .* 100$/,
    /VLAN interface/,
  ],
  [
    "messages without an IP datagram",
    { grown: { rxInvalid: 8, rxNotIp: 7 } },
    /^received 7 messages without an IPv4 or IPv6 datagram/,
    /pseudowire type IP at the peer/,
  ],
  ["too short", { grown: { rxInvalid: 8 } }, /^received 8 messages too short/, /cookie lengths/],
  [
    "frames out and none in",
    { of: { lastReceivedMsAgo: null }, grown: { txPackets: 5 } },
    /^sent 5 frames, received nothing so far/,
    /local session ID 2, remote session ID 1; transmit cookie of 0 bytes.*Default/,
  ],
  [
    "frames that the node's own firewall drops",
    {
      of: { lastReceivedMsAgo: null },
      wire: { received: 9, rightMessages: new Map([["default/s1", 9]]) },
    },
    /^9 frames reached the node but not the datapath/,
    /this node's own firewall/,
  ],
  [
    "datagrams for other sessions only",
    { of: { lastReceivedMsAgo: null }, wire: { received: 4 } },
    /^received nothing so far/,
    /arrive, but not for this session/,
  ],
  [
    "errors without a reason",
    { grown: { rxErrors: 3 } },
    /^3 received frames did not reach the device/,
    /MTU, cookies/,
  ],
  ["frames that cannot be sent", { grown: { txErrors: 3 } }, /^sending 3 frames failed/, /ip -s/],
  [
    "another version",
    { endpoint: { rxWrongVersion: 3 } },
    /^received 3 datagrams with a version other/,
    /L2TPv3/,
  ],
  [
    "errors of the socket",
    { endpoint: { rxErrors: 1 } },
    /^receiving 1 message fail/,
    /session IDs/,
  ],
  [
    "an unknown session that only the capture shows",
    { wire: { unknownSessions: { count: 3, last: 999 } } },
    /^received 3 messages.*session ID, the last with 999/,
    /sessionId/,
  ],
  [
    "another port",
    { wire: { otherPorts: { count: 1, last: 5009 } } },
    /^received 1 datagram of 192\.0\.2\.2 for UDP port 5009; the tunnel uses \d+/,
    /spec\.local\.port/,
  ],
  [
    "control messages that only the capture shows",
    { wire: { controlMessages: 2 } },
    /^received 2 control messages/,
    /static/,
  ],
])("%s: reports one finding with a remedy", (_what, given, finding, remedy) => {
  const found = examine(given);
  expect(found).toHaveLength(1);
  expect(found[0]?.finding).toMatch(finding);
  expect(found[0]?.remedy).toMatch(remedy);
  expect(found[0]?.object).toMatch(/^(L2tpTunnel t1|L2tpSession default\/s1)$/);
});

it("has the same findings from the capture as from counters, and counts no frame twice", () => {
  const seen = { rxInvalid: 0, rxSourceMismatch: 0, rxSublayerSuspect: 2, rxCookieDiscards: 5 };
  const wire = { sessions: new Map([["default/s1", seen]]) };
  const grown = { rxSublayerSuspect: 2, rxCookieDiscards: 5 };
  expect(examine({ wire })).toHaveLength(2);
  expect(examine({ wire })).toEqual(examine({ grown }));
  expect(examine({ wire, grown })).toEqual(examine({ grown }));
});

it("reports frames that a kernel device refuses as oversize while the device is up", () => {
  const refuse = (change: Partial<NodeKnowledge>) => {
    const looked = (deviceErrors: number) =>
      listing({ of: { deviceErrors } }, { rxErrors: deviceErrors }, {});
    return diagnose(looked(10), looked(14), { ...around, ...change });
  };
  const device = { place: "net1 of shop/web-0", up: true, mtu: 1430 };
  const [found, ...others] = refuse({ device: () => device });
  expect(others).toEqual([]);
  expect(found).toMatchObject({ finding: "dropped 4 received frames larger than the MTU 1430" });
  const down = refuse({ device: () => ({ ...device, up: false }) });
  expect(down.map(({ finding }) => finding).join()).not.toContain("larger");
});

it("does not report silence that another finding or condition explains", () => {
  const of = { lastReceivedMsAgo: null };
  expect(examine({ of, grown: { rxCookieDiscards: 5, rxErrors: 5 } })).toHaveLength(1);
  expect(examine({ of, wire: { unknownSessions: { count: 3, last: 999 } } })).toHaveLength(1);
  const control = { phase: "idle", established: null, lastEnding: null } as const;
  expect(examine({ of: { ...of, control } })).toEqual([]);
});

it("reports unsigned messages while the peer is connected", () => {
  const state = (unauthenticated: number): Partial<TunnelState> => ({
    tunnel: tunnel({ control: tunnelControl({ secrets: ["61"] }) }),
    control: {
      ...{ unauthenticated, dropped: 0, state: "established", remote: tunnel().remote },
    } as NonNullable<TunnelState["control"]>,
  });
  const looked = (count: number) => listing({ tunnel: state(count) }, {}, {});
  expect(diagnose(looked(5), looked(5), around)).toEqual([]);
  const [found] = diagnose(looked(5), looked(8), around);
  expect(found?.finding).toMatch(
    /^3 control messages with source address 192\.0\.2\.2 were not signed/,
  );
});

it("finds nothing wrong with a session that no pod uses", () => {
  const given = { of: { deviceOpen: false, lastReceivedMsAgo: null } };
  expect(examine({ ...given, around: { isAttached: () => false } })).toEqual([]);
});

it.each<[string, string[], RegExp]>([
  ["without a secret", [], /filter .*; set spec\.control\.secretRef/],
  ["with a secret", ["61"], /filter its messages in the underlay$/],
])(
  "reports a flood of control messages %s, but not a few dropped messages",
  (_, secrets, remedy) => {
    const state = (dropped: number): Partial<TunnelState> => ({
      tunnel: tunnel({ control: tunnelControl({ secrets }) }),
      control: { dropped } as NonNullable<TunnelState["control"]>,
    });
    const examined = (grown: number) =>
      diagnose(
        listing({ tunnel: state(5000) }, {}, {}),
        listing({ tunnel: state(5000 + grown) }, {}, {}),
        around,
      );
    expect(examined(20)).toEqual([]);
    const [found, ...others] = examined(20_000);
    expect(others).toEqual([]);
    expect(found?.finding).toMatch(
      /^dropped 20000 control messages with source address 192\.0\.2\.2/,
    );
    expect(found?.remedy).toMatch(remedy);
  },
);
