import { beforeEach, describe, expect, it } from "vitest";
import type { EstablishedSession } from "../../l2tp/control/session.ts";
import { createEndpointCounters, createSessionCounters, type Session } from "../../model/model.ts";
import {
  sessionControl,
  session as sessionOf,
  tunnelControl,
  tunnel as tunnelOf,
} from "../../model/testdata.ts";
import type { Reply } from "../../rpc/errors.ts";
import type { SessionControlState } from "../control-state.ts";
import type { Change, Listing, Names, SessionState, TunnelState } from "../datapath.ts";
import type { KernelDatapath } from "../kernel/kernel.ts";
import type { Claimed, KernelL2tp } from "../kernel/shared.ts";
import type { ProcessView } from "../userspace/process-view.ts";
import { controlTunnel, joinListings, wholeTunnel } from "./halves.ts";
import { ManagedKernelDatapath } from "./runtime.ts";
import { MANAGED_KERNEL } from "./traits.ts";

const NAME = MANAGED_KERNEL.name;
const tunnel = tunnelOf({ datapath: NAME, control: tunnelControl(), tunnelId: 7 });
const session = sessionOf({ sessionId: 7, peerSessionId: 0, control: sessionControl() });
const wanted = { session, tunnel };
const agreement: EstablishedSession = {
  key: session.key,
  sessionId: 1000,
  peerSessionId: 2000,
  rxCookie: "0011223344556677",
  txCookie: "8899aabbccddeeff",
  l2SpecificSublayer: "None",
  sequencing: { send: false, receive: false },
  peerCircuit: { active: true, standby: false },
  peerMtu: null,
};
const agreedIds = { sessionId: 1000, peerSessionId: 2000, rxCookie: agreement.rxCookie };
const left: Session = sessionOf({ sessionId: 999, peerSessionId: 3000 });

function tunnelState(change: Partial<TunnelState> = {}): TunnelState {
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

const control = (established: EstablishedSession | null): SessionControlState => ({
  phase: established === null ? "idle" : "established",
  established,
  lastEnding: null,
});

describe("forwarding", () => {
  const live = (established: EstablishedSession | null, forwarding: Session | null = null) => ({
    tunnel,
    session: { session, datapath: NAME, forwarding, established },
  });

  it("is as negotiated", () => {
    const found = MANAGED_KERNEL.forwarding(wanted, live(agreement));
    expect(found).toMatchObject({ isUp: true, session: { key: session.key, ...agreedIds } });
    expect(found?.session.l2SpecificSublayer).toBe("None");
    expect(found?.session.control).toBeUndefined();
  });

  it("is down while the peer's circuit is", () => {
    const standby = { ...agreement, peerCircuit: { active: true, standby: true } };
    const found = MANAGED_KERNEL.forwarding(wanted, live(standby));
    expect(found).toMatchObject({ isUp: false, session: agreedIds });
  });

  it("stays, but down, until the session is renegotiated", () => {
    const found = MANAGED_KERNEL.forwarding(wanted, live(null, left));
    expect(found).toEqual({ session: left, isUp: false });
    expect(MANAGED_KERNEL.forwarding(wanted, live(null))).toBeNull();
  });

  it.each([
    ["no process has the tunnel", { ...live(agreement, left), tunnel: undefined }],
    [
      "the tunnel needs another socket",
      { ...live(agreement, left), tunnel: { ...tunnel, udpChecksum: false } },
    ],
    ["the session is not in the process", { tunnel, session: undefined }],
    [
      "the tunnel is static, in the kernel",
      { ...live(agreement, left), tunnel: { ...tunnel, datapath: "Kernel" } },
    ],
  ])("is absent while %s", (_why, before) => {
    expect(MANAGED_KERNEL.forwarding(wanted, before)).toBeNull();
  });

  it("does not use an agreement of another tunnel", () => {
    const other = { ...tunnel, name: "t2" };
    const moved = { session: { ...session, tunnel: "t2" }, tunnel: other };
    expect(
      MANAGED_KERNEL.forwarding(moved, { ...live(agreement, left), tunnel: other }),
    ).toBeNull();
  });

  it("does not wait for negotiation in a quiescent tunnel", () => {
    expect(MANAGED_KERNEL.waitsForAgreement(wanted)).toBe(true);
    const quiescent = { session: sessionOf({}), tunnel };
    expect(MANAGED_KERNEL.waitsForAgreement(quiescent)).toBe(false);
    const nothing = { tunnel: undefined, session: undefined };
    expect(MANAGED_KERNEL.forwarding(quiescent, nothing)).toEqual({
      session: quiescent.session,
      isUp: true,
    });
  });
});

describe("a listing of both parts", () => {
  const inKernel = (counters = createSessionCounters()) =>
    sessionState({ session: left, datapath: "Kernel", deviceOpen: true, counters });
  const inProcess = (established: EstablishedSession | null): Listing => ({
    turns: 3,
    tunnels: [tunnelState()],
    sessions: [sessionState({ control: control(established) })],
  });

  it("has the object's IDs and the kernel's counters", () => {
    const counters = { ...createSessionCounters(), rxPackets: 5 };
    const endpoint = { ...createEndpointCounters(), rxPackets: 6, rxUnknownSession: 7 };
    const kernel = { tunnels: [tunnelState({ endpoint })], sessions: [inKernel(counters)] };
    const one = joinListings(inProcess(agreement), kernel);
    expect(one.turns).toBe(3);
    expect(one.tunnels).toEqual([
      { ...tunnelState(), endpoint: { ...createEndpointCounters(), rxPackets: 6 } },
    ]);
    expect(one.sessions).toEqual([
      expect.objectContaining({ session, datapath: NAME, deviceOpen: true, counters }),
    ]);
    expect(one.sessions[0]?.forwarding).toEqual(left);
    expect(one.sessions[0]?.control?.established).toEqual(agreement);
  });

  it("shows a session before it is negotiated, and one that the process does not have", () => {
    const nothing = { tunnels: [], sessions: [] };
    const [waiting] = joinListings(inProcess(null), nothing).sessions;
    expect(waiting).toMatchObject({ session, datapath: NAME, forwarding: null });
    const kernel = { tunnels: [tunnelState()], sessions: [inKernel()] };
    const [rest] = joinListings({ tunnels: [tunnelState()], sessions: [] }, kernel).sessions;
    expect(rest).toMatchObject({ session: left, datapath: NAME, forwarding: left });
  });

  it("recognizes a tunnel of an earlier version's process", () => {
    const { socketOwner: _, ...before } = controlTunnel(tunnel);
    expect(wholeTunnel(before)).toEqual(tunnel);
    expect(wholeTunnel(controlTunnel(tunnel))).toEqual(tunnel);
  });
});

describe("changes", () => {
  const put: Change = { op: "putTunnel", tunnel };
  const leave: Change = { op: "deleteTunnel", name: tunnel.name };
  const putSession: Change = {
    op: "putSession",
    session,
    forwarding: { ...session, ...agreedIds },
    device: { netns: null, name: "l2tn-1000" },
  };
  /** The calls, in order. */
  let events: string[];
  let holds: boolean;
  let answer: Reply<null>;
  let listing: Listing;
  let datapath: ManagedKernelDatapath;

  function record(who: string, changes: readonly Change[], reply: Reply<null>): Reply<null>[] {
    events.push(`${who} ${changes.map(({ op }) => op).join()}`);
    return changes.map(() => reply);
  }

  beforeEach(() => {
    events = [];
    holds = true;
    answer = { result: null };
    listing = { tunnels: [], sessions: [] };
    const core = {
      holds: () => holds,
      sessionIdOf: () => undefined,
      find: (one: Session) => ({
        tunnels: [],
        sessions: one.sessionId === 1000 ? [sessionState({ session: one })] : [],
      }),
      expectRelease: () => events.push("expect release"),
      release: async (ids: readonly number[]) => {
        if (ids.length > 0) events.push(`release ${ids.join()}`);
      },
      apply: async (changes: readonly Change[]) =>
        record("kernel", changes, holds ? answer : { error: { code: "NoSocket", message: "" } }),
    } as unknown as KernelDatapath;
    const kernel = {
      claim() {},
      open: () => core,
      list: async (): Promise<Claimed> => ({
        listing,
        claims: { tunnels: new Map(), sessions: new Map() },
      }),
    } as unknown as KernelL2tp;
    const apply = async (changes: readonly Change[]) => record("process", changes, answer);
    const process = { apply, delete: apply, list: async () => listing } as unknown as ProcessView;
    datapath = new ManagedKernelDatapath(process, kernel);
  });

  it("give the kernel the socket first, then the negotiated session", async () => {
    expect(await datapath.apply([put, putSession])).toEqual([answer, answer]);
    expect(events).toEqual([
      ...["process putTunnel", "kernel putTunnel", "process putSession", "kernel putSession"],
    ]);
  });

  it("do not reach the kernel before the session is negotiated", async () => {
    await datapath.apply([{ op: "putSession", session, forwarding: null, device: null }]);
    expect(events).toEqual(["process putSession"]);
  });

  it("delete the device without deleting the session in the process", async () => {
    const { key } = session;
    await datapath.apply([
      { op: "deleteDevice", key },
      { op: "deleteSession", key },
    ]);
    expect(events).toEqual(["kernel deleteSession,deleteSession", "process deleteSession"]);
  });

  it("wait for the kernel between closing a socket and opening the next of the same tunnel", async () => {
    await datapath.apply([leave, put]);
    expect(events).toEqual([
      ...["kernel deleteTunnel", "process deleteTunnel", "expect release"],
      ...["release 7", "process putTunnel", "kernel putTunnel"],
    ]);
    events = [];
    await datapath.apply([put]);
    expect(events).toEqual(["process putTunnel", "kernel putTunnel"]);
  });

  it("leave the socket open while the kernel cannot delete the tunnel", async () => {
    answer = { error: { code: "NotOurs", message: "foreign sessions" } };
    expect(await datapath.apply([leave])).toEqual([answer]);
    expect(events).toEqual(["kernel deleteTunnel"]);
  });

  it("report a foreign kernel tunnel with the same ID", async () => {
    answer = { error: { code: "EEXIST", message: "create tunnel 7: EEXIST" } };
    expect(await datapath.apply([put])).toEqual([
      { error: { code: "NotOurs", message: expect.stringContaining("del tunnel tunnel_id 7") } },
    ]);
  });

  it("fail unless the kernel confirms the tunnel", async () => {
    holds = false;
    expect(await datapath.apply([put])).toEqual([
      { error: { code: "NoSocket", message: expect.stringContaining("older than the agent") } },
    ]);
  });

  it("appear in a listing, with lost tunnels marked", async () => {
    listing = {
      tunnels: [tunnelState({ tunnel: controlTunnel(tunnel) })],
      sessions: [sessionState({ control: control(agreement) })],
    };
    const names: Names = { sessions: new Map(), tunnelName: () => undefined };
    expect((await datapath.list(names)).tunnels[0]).toMatchObject({ tunnel, isLost: false });
    const found = await datapath.find(session, tunnel);
    expect(found.sessions[0]).toMatchObject({ session, forwarding: { sessionId: 1000 } });
    holds = false;
    expect((await datapath.list({ ...names })).tunnels[0]?.isLost).toBe(true);
  });
});
