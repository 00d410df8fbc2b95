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
  /** What the session's counters have grown by. */
  readonly grown?: Partial<SessionState["counters"]>;
  readonly tunnel?: Partial<TunnelState>;
  readonly endpoint?: Partial<TunnelState["endpoint"]>;
  readonly around?: Partial<NodeKnowledge>;
  /** The capture between the two looks. */
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

/** Findings of two looks, between which the counters have grown. What they were before says nothing. */
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

it("finds nothing where nothing is wrong, and holds no old trouble against anybody", () => {
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
  ["sending fails", { tunnel: { lastSendError: "EPERM" } }, /do not go out: EPERM/, /firewall/],
  [
    "unknown session",
    { endpoint: { rxUnknownSession: 3 } },
    /^3 messages.*session ids.*4711/,
    /sessionId/,
  ],
  [
    "no fast path",
    { tunnel: { tunnel: tunnel({ fastPath: true }) }, of: { fastPath: false } },
    /^its frames do not pass by the fast path/,
    /Linux 6\.6/,
  ],
  [
    "no fast path for IP datagrams",
    {
      tunnel: { tunnel: tunnel({ fastPath: true }) },
      of: { fastPath: false, session: session({ pseudowireType: "IP" }) },
    },
    /^its frames do not pass by the fast path: .*Ethernet frames.* IP$/,
    /without spec\.fastPath/,
  ],
  ["control messages", { endpoint: { rxControl: 2 } }, /^2 control messages/, /static/],
  [
    "wrong cookie",
    { grown: { rxCookieDiscards: 5 } },
    /^5 frames came with a wrong cookie/,
    /spec\.cookies\.receive/,
  ],
  [
    "sequence loss",
    { grown: { rxOosPackets: 4, rxSeqDiscards: 1 } },
    /^4 sequence numbers were missed, 1 frames came late/,
    /reorderTimeout/,
  ],
  [
    "MTU too large for the path",
    { around: { fittingMtu: () => 1400 } },
    /MTU 1446 is too large for the path/,
    /1400 or less/,
  ],
  ["frames above the MTU", { grown: { rxOversize: 2 } }, /^2 frames were larger/, /1446/],
  [
    "nothing received for a while",
    { of: { lastReceivedMsAgo: 61_000 } },
    /nothing has been received for 61 s/,
    /firewall/,
  ],
  [
    "nothing received ever",
    { of: { lastReceivedMsAgo: null } },
    /nothing has been received ever/,
    /peer up/,
  ],
  [
    "device down",
    { around: { device: () => ({ place: "net1 of shop/web-0", up: false }) } },
    /device net1 of shop\/web-0 is down/,
    /agent/,
  ],
  ["device gone", { around: { device: () => null } }, /device is gone/, /agent/],
  ["device lost", { of: { deviceOpen: false } }, /device is gone/, /agent/],
  [
    "a sublayer that we do not expect",
    { of: { session: session({ l2SpecificSublayer: "None" }) }, grown: { rxSublayerSuspect: 1 } },
    /the peer sends an L2-specific sublayer, which we do not expect/,
    /ours is None/,
  ],
  [
    "no sublayer where we expect one",
    { grown: { rxSublayerSuspect: 1 } },
    /the peer sends no L2-specific sublayer/,
    /ours is Default/,
  ],
  [
    "a stranger",
    {
      tunnel: { lastStranger: { address: "192.0.2.9", port: 77, msAgo: 5 } },
      grown: { rxSourceMismatch: 6 },
    },
    /^6 frames came from 192\.0\.2\.9 port 77, which is not the remote/,
    /spec\.remote/,
  ],
  [
    "a stranger that another thread heard",
    {
      tunnel: {
        lastStranger: { address: "192.0.2.9", port: 77, msAgo: 5 },
        lastUnknownSession: null,
      },
      endpoint: { rxUnknownSession: 6 },
    },
    /^6 frames came from 192\.0\.2\.9 port 77, which is not the remote/,
    /spec\.remote/,
  ],
  [
    "frames with another source address than the pod's",
    { grown: { txSpoofed: 4 } },
    /^4 frames of its pods were dropped/,
    /macSpoofing: Allow/,
  ],
  ["untagged frames", { grown: { rxUntagged: 3 } }, /^3 frames came without a VLAN tag/, /type/],
  [
    "frames of another VLAN",
    { of: { session: vlanSession }, grown: { rxOtherVlan: 3 } },
    /^3 frames came with the tag of another VLAN than 200/,
    /spec\.vlan\.peerId/,
  ],
  [
    "a pod's frames without its tag",
    { of: { session: vlanSession }, grown: { txUntagged: 2, txOtherVlan: 3 } },
    /^5 frames of its pods were dropped: .* 100$/,
    /VLAN interface/,
  ],
  [
    "what is no IP datagram",
    { grown: { rxInvalid: 8, rxNotIp: 7 } },
    /^7 messages held neither an IPv4 nor an IPv6 datagram/,
    /pseudowire type IP at the peer/,
  ],
  ["too short", { grown: { rxInvalid: 8 } }, /^8 messages were too short/, /cookie lengths/],
  [
    "frames out and none in",
    { of: { lastReceivedMsAgo: null }, grown: { txPackets: 5 } },
    /^5 frames went out, and nothing has been received ever/,
    /local session id 2, remote session id 1; it sends a cookie of 0 bytes.*Default/,
  ],
  [
    "frames that the node's own firewall drops",
    {
      of: { lastReceivedMsAgo: null },
      wire: { received: 9, rightMessages: new Map([["default/s1", 9]]) },
    },
    /^9 frames reached the node, and not the datapath/,
    /this node's own firewall/,
  ],
  [
    "datagrams for others alone",
    { of: { lastReceivedMsAgo: null }, wire: { received: 4 } },
    /^nothing has been received ever/,
    /arrive, but none for this session/,
  ],
  [
    "errors that nothing else names",
    { grown: { rxErrors: 3 } },
    /^3 frames came and did not reach its device/,
    /MTU, cookies/,
  ],
  [
    "frames that cannot be sent",
    { grown: { txErrors: 3 } },
    /^3 frames could not be sent/,
    /ip -s/,
  ],
  [
    "another version",
    { endpoint: { rxWrongVersion: 3 } },
    /^3 datagrams had another version/,
    /L2TPv3/,
  ],
  ["errors of the socket", { endpoint: { rxErrors: 1 } }, /^1 message could not/, /session ids/],
  [
    "an unknown session that only the capture shows",
    { wire: { unknownSessions: { count: 3, last: 999 } } },
    /^3 messages.*session ids.*999/,
    /sessionId/,
  ],
  [
    "another port",
    { wire: { otherPorts: { count: 1, last: 5009 } } },
    /^1 datagram of 192\.0\.2\.2 came for UDP port 5009, and the tunnel has \d+/,
    /spec\.local\.port/,
  ],
  [
    "control messages that only the capture shows",
    { wire: { controlMessages: 2 } },
    /^2 control messages/,
    /static/,
  ],
])("%s: one finding, and what to do", (_what, given, finding, remedy) => {
  const found = examine(given);
  expect(found).toHaveLength(1);
  expect(found[0]?.finding).toMatch(finding);
  expect(found[0]?.remedy).toMatch(remedy);
  expect(found[0]?.object).toMatch(/^(L2tpTunnel t1|L2tpSession default\/s1)$/);
});

it("has the same findings by the capture as by counters, and counts no frame twice", () => {
  const seen = { rxInvalid: 0, rxSourceMismatch: 0, rxSublayerSuspect: 2, rxCookieDiscards: 5 };
  const wire = { sessions: new Map([["default/s1", seen]]) };
  const grown = { rxSublayerSuspect: 2, rxCookieDiscards: 5 };
  expect(examine({ wire })).toHaveLength(2);
  expect(examine({ wire })).toEqual(examine({ grown }));
  expect(examine({ wire, grown })).toEqual(examine({ grown }));
});

it("takes what a device in the kernel refuses for frames above its MTU, while the device is up", () => {
  const refuse = (change: Partial<NodeKnowledge>) => {
    const looked = (deviceErrors: number) =>
      listing({ of: { deviceErrors } }, { rxErrors: deviceErrors }, {});
    return diagnose(looked(10), looked(14), { ...around, ...change });
  };
  const device = { place: "net1 of shop/web-0", up: true, mtu: 1430 };
  const [found, ...others] = refuse({ device: () => device });
  expect(others).toEqual([]);
  expect(found).toMatchObject({ finding: "4 frames were larger than the MTU, and were dropped" });
  expect(found?.remedy).toContain("above ours, 1430");
  const down = refuse({ device: () => ({ ...device, up: false }) });
  expect(down.map(({ finding }) => finding).join()).not.toContain("larger");
});

it("is silent about a silence that it has explained", () => {
  const of = { lastReceivedMsAgo: null };
  expect(examine({ of, grown: { rxCookieDiscards: 5, rxErrors: 5 } })).toHaveLength(1);
  expect(examine({ of, wire: { unknownSessions: { count: 3, last: 999 } } })).toHaveLength(1);
  const control = { phase: "idle", established: null, lastEnding: null } as const;
  expect(examine({ of: { ...of, control } })).toEqual([]);
});

it("names messages without the secret's signature while the peer itself is heard", () => {
  const state = (unauthenticated: number): Partial<TunnelState> => ({
    tunnel: tunnel({ control: tunnelControl({ secrets: ["61"] }) }),
    control: {
      ...{ unauthenticated, dropped: 0, state: "established", remote: tunnel().remote },
    } as NonNullable<TunnelState["control"]>,
  });
  const looked = (count: number) => listing({ tunnel: state(count) }, {}, {});
  expect(diagnose(looked(5), looked(5), around)).toEqual([]);
  const [found] = diagnose(looked(5), looked(8), around);
  expect(found?.finding).toMatch(/^3 control messages in the name of 192\.0\.2\.2 did not have/);
});

it("expects nothing of a session that no pod has", () => {
  const given = { of: { deviceOpen: false, lastReceivedMsAgo: null } };
  expect(examine({ ...given, around: { isAttached: () => false } })).toEqual([]);
});

it.each<[string, string[], RegExp]>([
  ["without a secret", [], /filter .*; set spec\.control\.secretRef/],
  ["with a secret", ["61"], /filter its messages in the underlay$/],
])(
  "reports a flood at a control connection %s, and not a few dropped messages",
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
      /^20000 control messages in the name of 192\.0\.2\.2 were dropped/,
    );
    expect(found?.remedy).toMatch(remedy);
  },
);
