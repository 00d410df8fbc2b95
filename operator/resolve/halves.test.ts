import { expect, it } from "vitest";
import type { SessionControlState } from "../../datapath/control-state.ts";
import type { Listing, SessionState, TunnelState } from "../../datapath/datapath.ts";
import { controlHalf, controlHalfOf } from "../../model/halves.ts";
import { createEndpointCounters, createSessionCounters } from "../../model/model.ts";
import {
  sessionControl,
  session as sessionOf,
  tunnelControl,
  tunnel as tunnelOf,
} from "../../model/testdata.ts";
import type { L2tpSession } from "../api/types.ts";
import { asOne, carriers, inHalves, ownDeviceName } from "./halves.ts";
import type { ResolvedSession } from "./resolved.ts";

const tunnel = tunnelOf({ datapath: "Kernel", control: tunnelControl() });
const session = sessionOf({ sessionId: 7, peerSessionId: 0, control: sessionControl() });
const resolved: ResolvedSession = { object: {} as L2tpSession, session, tunnel, mode: "Direct" };
const agreement = {
  key: session.key,
  sessionId: 1000,
  peerSessionId: 2000,
  rxCookie: "0011223344556677",
  txCookie: "8899aabbccddeeff",
  l2SpecificSublayer: "None",
  sequencing: { send: false, receive: false },
  peerCircuit: { active: true, standby: false },
  peerMtu: null,
} as const;
const carried = { sessionId: 1000, peerSessionId: 2000, rxCookie: agreement.rxCookie };

function tunnelState(change: Partial<TunnelState>): TunnelState {
  return {
    tunnel,
    endpoint: createEndpointCounters(),
    lastSendError: null,
    lastUnknownSession: null,
    lastStranger: null,
    ...change,
  };
}

function sessionState(change: Partial<SessionState>): SessionState {
  return {
    session,
    datapath: "Userspace",
    deviceOpen: false,
    receiving: true,
    counters: createSessionCounters(),
    lastReceivedMsAgo: null,
    resyncs: 0,
    ...change,
  };
}

const control = (established: SessionControlState["established"]): SessionControlState => ({
  phase: established === null ? "idle" : "established",
  established,
  lastEnding: null,
});

/** The process has both control halves, and the kernel `kernels`. */
function listing(
  established: SessionControlState["established"],
  kernels: SessionState[] = [],
  held: Partial<TunnelState> = {},
): Listing {
  const half = sessionState({ session: controlHalfOf(session), control: control(established) });
  return {
    turns: 3,
    tunnels: [
      tunnelState({ tunnel: controlHalf(tunnel), ...held }),
      ...(kernels.length > 0 ? [tunnelState({})] : []),
    ],
    sessions: [half, ...kernels],
  };
}

const inKernel = sessionState({
  session: sessionOf({ sessionId: 999, peerSessionId: 3000 }),
  datapath: "Kernel",
  deviceOpen: true,
});

it("has the control half first: the kernel takes what that has given it", () => {
  const plain = tunnelOf({ name: "plain" });
  expect(inHalves([plain, tunnel]).map(({ name, datapath }) => [name, datapath])).toEqual([
    ["t1:control", "Userspace"],
    ["plain", "Userspace"],
    ["t1", "Kernel"],
  ]);
});

it("carries a session as its ends have agreed", () => {
  const found = carriers(listing(agreement))(resolved);
  expect(found).toMatchObject({ isUp: true, session: { key: session.key, ...carried } });
  expect(found?.session.l2SpecificSublayer).toBe("None");
  expect(found?.session.control).toBeUndefined();
});

it("is down while the peer's circuit is", () => {
  const standby = { ...agreement, peerCircuit: { active: true, standby: true } };
  expect(carriers(listing(standby))(resolved)).toMatchObject({ isUp: false, session: carried });
});

it("keeps what there was until the ends agree anew, down", () => {
  const { session: left } = inKernel;
  expect(carriers(listing(null, [inKernel]))(resolved)).toEqual({ session: left, isUp: false });
  expect(carriers(listing(null))(resolved)).toBeNull();
});

it.each<[string, Listing]>([
  ["nobody holds the tunnel", { tunnels: [], sessions: [inKernel] }],
  ["the kernel has lost the tunnel", listing(agreement, [inKernel], { isLost: true })],
  [
    "the tunnel is to have another socket",
    listing(agreement, [inKernel], { tunnel: controlHalf({ ...tunnel, udpChecksum: false }) }),
  ],
])("carries nothing while %s", (_why, before) => {
  expect(carriers(before)(resolved)).toBeNull();
});

it("asks no control half about what has none", () => {
  const quiescent = { ...resolved, session: sessionOf({}) };
  expect(carriers({ tunnels: [], sessions: [] })(quiescent)).toEqual({
    session: quiescent.session,
    isUp: true,
  });
});

it("shows both halves as one, with the manifest's ids and the kernel's counters", () => {
  const counters = { ...createSessionCounters(), rxPackets: 5 };
  const one = asOne(listing(agreement, [{ ...inKernel, counters }]));
  expect(one.turns).toBe(3);
  expect(one.tunnels).toEqual([expect.objectContaining({ tunnel })]);
  expect(one.sessions).toEqual([
    expect.objectContaining({ session, datapath: "Kernel", deviceOpen: true, counters }),
  ]);
  expect(one.sessions[0]?.control?.established).toEqual(agreement);
});

it("shows a tunnel before its ends agree", () => {
  const one = asOne(listing(null));
  expect(one.tunnels).toEqual([expect.objectContaining({ tunnel })]);
  expect(one.sessions).toEqual([expect.objectContaining({ session, datapath: "Kernel" })]);
});

it("names a device by what the kernel has", () => {
  const [one] = asOne(listing(null, [inKernel])).sessions;
  expect(ownDeviceName(resolved, one)).toBe("l2tp-999");
  expect(ownDeviceName(resolved, asOne(listing(agreement)).sessions[0])).toBe("l2tp-7");
});

it("does not carry a session as it was agreed on in another tunnel", () => {
  const moved = { ...resolved, session: { ...session, tunnel: "t2" } };
  const other = { ...tunnel, name: "t2" };
  const before = listing(agreement, [inKernel]);
  const held = tunnelState({ tunnel: controlHalf(other), isLost: false });
  const tunnels = [...before.tunnels, held];
  expect(carriers({ ...before, tunnels })({ ...moved, tunnel: other })).toBeNull();
});
