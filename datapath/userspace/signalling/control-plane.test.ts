/** Control connections with real tables, over a network in memory. */
import { beforeEach, describe, expect, it } from "vitest";
import { encodeBody, encodeMessage } from "../../../l2tp/control/message.ts";
import { decodeSockaddr, encodeSockaddr, type SocketAddress } from "../../../linux/socket.ts";
import type { Session, Tunnel } from "../../../model/model.ts";
import {
  sessionControl,
  session as sessionOf,
  tunnelControl,
  tunnel as tunnelOf,
} from "../../../model/testdata.ts";
import { FakeDevice, FakeSocket } from "../devices/fake-ports.ts";
import { createPacketPath } from "../packet/packet-path.ts";
import { type Ports, Table } from "../packet/table.ts";
import { listing } from "../process/listing.ts";
import { ControlPlane } from "./control-plane.ts";

interface Datagram {
  readonly from: SocketAddress;
  readonly to: SocketAddress;
  readonly octets: Uint8Array;
}

let wire: Datagram[];
let now: number;
let nodes: TestNode[];

class WireSocket extends FakeSocket {
  readonly #from: SocketAddress;

  constructor(from: SocketAddress) {
    super();
    this.#from = from;
  }

  override sendTo(octets: Uint8Array, sockaddr?: Uint8Array): void {
    const to = decodeSockaddr(sockaddr as Uint8Array);
    wire.push({ from: this.#from, to, octets: Uint8Array.from(octets) });
  }
}

class TestNode implements Ports {
  readonly address: string;
  readonly lines: string[] = [];
  /** The carriers of its devices. */
  readonly carriers = new Map<FakeDevice, boolean>();
  readonly table: Table;
  readonly plane: ControlPlane;
  /** Control connection IDs that it receives. */
  readonly heard = new Set<number>();
  /** IDs that were refused because they are in use on the node. */
  readonly refused: number[] = [];
  /** The number of next IDs to refuse. */
  idsTaken = 0;
  isDead = false;

  constructor(last: number) {
    this.address = `192.0.2.${last}`;
    const nothing = () => {};
    const path = createPacketPath({
      ...{ gsoRefused: nothing, segmentRefused: nothing },
      ...{ control: () => false, createBatch: () => null },
    });
    this.table = new Table(this, path);
    this.plane = new ControlPlane(
      this.table,
      () => now,
      (line) => this.lines.push(line),
      {
        take: (_, id) => {
          if (this.idsTaken-- > 0) return this.refused.push(id) === 0;
          this.heard.add(id);
          return true;
        },
        release: (_, id) => this.heard.delete(id),
      },
    );
  }

  openSocket({ local }: Tunnel): WireSocket {
    return new WireSocket(local);
  }
  openDevice(): FakeDevice {
    const device = new FakeDevice();
    this.carriers.set(device, true);
    return device;
  }
  setCarrier(device: FakeDevice, on: boolean): void {
    this.carriers.set(device, on);
  }
  startEndpoint(): void {}
  stopEndpoint(): void {}
  allowZeroChecksum(): void {}
  reportTrafficClass(): void {}
  startDevice(): void {}
  stopDevice(): void {}
  deleteDevice(): void {}
  settleSession(): void {}
  forgetSession(): void {}
  bypassedFrames(): null {
    return null;
  }

  putTunnel(remote: TestNode, change: Partial<Tunnel> = {}): void {
    const at = ({ address }: TestNode) => ({ address, port: 1701 });
    const ends = { local: at(this), remote: at(remote) };
    const tunnel = tunnelOf({ ...ends, control: tunnelControl(), ...change });
    this.plane.apply({ op: "putTunnel", tunnel });
  }

  putSession(change: Partial<Session> = {}): void {
    const session = sessionOf({ control: sessionControl(), ...change });
    const device = { netns: null, name: "tap0" };
    this.plane.apply({ op: "putSession", session, device });
  }

  /** @returns true if an endpoint has a control connection with the sender */
  receive({ from, octets }: Datagram): boolean {
    return [...this.table.endpoints.values()].some((endpoint) => {
      const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
      const memory = { bytes: octets, view };
      return this.plane.receive(endpoint, encodeSockaddr(from), memory, 0, octets.length, now);
    });
  }

  get tunnel() {
    const [state] = listing(this.table, now).tunnels;
    return state === undefined ? undefined : this.plane.describeTunnel(state).control;
  }

  get session() {
    const [state] = listing(this.table, now).sessions;
    return state === undefined ? undefined : this.plane.describeSession(state).control;
  }

  /** The session as the packet path has it. */
  get carried(): Session | undefined {
    return [...this.table.sessions.values()][0]?.config;
  }

  get hasCarrier(): boolean | undefined {
    return [...this.carriers.values()][0];
  }
}

/** Lets time pass. A dead node receives and sends nothing. */
function pass(ms: number): void {
  for (const end = now + ms; now < end; now += 50) {
    for (let round = 0; round < 20 && wire.length > 0; round++) deliver();
    for (const node of nodes) if (!node.isDead) node.plane.poll(now);
  }
}

function deliver(): void {
  for (const datagram of wire.splice(0)) {
    const from = nodes.find(({ address }) => address === datagram.from.address);
    const to = nodes.find(({ address }) => address === datagram.to.address);
    if (to === undefined || to.isDead || from?.isDead) continue;
    to.receive(datagram);
    to.plane.poll(now);
  }
}

let a: TestNode;
let b: TestNode;
let c: TestNode;

beforeEach(() => {
  wire = [];
  now = 1000;
  nodes = [1, 2, 3].map((last) => new TestNode(last));
  [a, b, c] = nodes as [TestNode, TestNode, TestNode];
});

function bothPut(change: Partial<Session> = {}): void {
  a.putTunnel(b);
  b.putTunnel(a);
  for (const node of [a, b]) node.putSession(change);
}

it("configures the packet path with the negotiated values", () => {
  bothPut();
  expect(a.carried).toMatchObject({ sessionId: 0, peerSessionId: 0 });
  expect(a.hasCarrier).toBe(false);
  pass(2000);
  expect(a.tunnel?.state).toBe("established");
  const { sessionId = 0, peerSessionId = 0, rxCookie = "", txCookie = "" } = a.carried ?? {};
  expect(sessionId).not.toBe(0);
  expect(rxCookie).toHaveLength(16);
  const crossed = { sessionId: peerSessionId, peerSessionId: sessionId };
  expect(b.carried).toMatchObject({ ...crossed, rxCookie: txCookie, txCookie: rxCookie });
  expect([a.hasCarrier, b.hasCarrier]).toEqual([true, true]);
  expect(a.session?.established?.sessionId).toBe(sessionId);
});

it("counts only changes of the described state", () => {
  bothPut();
  pass(2000);
  const { turns } = a.plane;
  expect(turns).toBeGreaterThan(0);
  pass(5000);
  expect(a.plane.turns).toBe(turns);
  b.plane.apply({ op: "deleteTunnel", name: "t1" });
  pass(100);
  expect(a.plane.turns).toBeGreaterThan(turns);
});

it("shows the peer's circuit as carrier", () => {
  bothPut();
  pass(2000);
  b.putSession({ control: sessionControl({ circuit: { active: false, standby: false } }) });
  pass(200);
  expect([a.hasCarrier, a.carried?.sessionId === 0]).toEqual([false, false]);
  b.putSession();
  pass(200);
  expect(a.hasCarrier).toBe(true);
});

it("clears ended sessions in the packet path, and sends StopCCN on close", () => {
  bothPut();
  pass(2000);
  b.plane.close();
  pass(100);
  expect(a.tunnel?.lastEnding).toMatchObject({ by: "peer" });
  expect(a.carried).toMatchObject({ sessionId: 0, rxCookie: "" });
  expect(a.hasCarrier).toBe(false);
});

it("detects a silent peer and reconnects", () => {
  bothPut();
  pass(2000);
  const before = a.carried?.sessionId;
  b.isDead = true;
  pass(2000);
  expect(a.tunnel?.lastEnding).toMatchObject({ by: "connection" });
  expect(a.hasCarrier).toBe(false);
  b.isDead = false;
  pass(5000);
  expect(a.hasCarrier).toBe(true);
  expect(a.carried?.sessionId).not.toBe(before);
  expect(b.carried?.peerSessionId).toBe(a.carried?.sessionId);
});

it("receives messages for each connection's ID from before it starts until it is deleted", () => {
  a.idsTaken = 2;
  a.putTunnel(b);
  b.putTunnel(a, { control: tunnelControl({ initiates: false }) });
  expect(a.refused).toHaveLength(2);
  pass(2000);
  const before = a.tunnel?.localConnectionId ?? 0;
  expect(a.refused).not.toContain(before);
  expect(a.heard).toContain(before);
  b.isDead = true;
  pass(2000);
  b.isDead = false;
  pass(60_000);
  expect(a.tunnel?.state).toBe("established");
  expect(a.tunnel?.localConnectionId).not.toBe(before);
  expect([...a.heard]).toEqual([a.tunnel?.localConnectionId]);
});

it("forwards no session of a tunnel whose socket the kernel has, but describes what was negotiated", () => {
  a.putTunnel(b, { socketOwner: "ManagedKernel" });
  a.putSession();
  b.putTunnel(a);
  b.putSession();
  pass(2000);
  expect(a.session?.established?.peerSessionId).toBe(b.carried?.sessionId);
  expect(a.carried).toMatchObject({ sessionId: 0, peerSessionId: 0 });
  expect([...a.table.endpoints.keys()]).toEqual(["UDP 192.0.2.1 1701 192.0.2.2 1701"]);
});

it("connects to a changed remote, and disconnects from the old one", () => {
  bothPut();
  c.putTunnel(a);
  c.putSession();
  pass(2000);
  a.putTunnel(c);
  pass(2000);
  expect(b.tunnel?.state).not.toBe("established");
  expect(a.carried?.peerSessionId).toBe(c.carried?.sessionId);
  expect(a.hasCarrier).toBe(true);
});

it("does not change a session that is no longer signaled", () => {
  bothPut();
  pass(2000);
  a.plane.apply({ op: "putTunnel", tunnel: tunnelOf() });
  const { control: _, ...fixed } = sessionOf({ sessionId: 77 });
  a.plane.apply({ op: "putSession", session: fixed, device: "keep" });
  pass(500);
  expect(a.carried).toEqual(fixed);
  expect([a.tunnel, a.session]).toEqual([undefined, undefined]);
  expect(a.hasCarrier).toBe(true);
});

it("survives malformed control messages", () => {
  bothPut();
  pass(2000);
  const from = { address: b.address, port: 1701 };
  for (const octets of [[], [0xc8], [0xc8, 3, 0, 12], Array(64).fill(255)]) {
    a.receive({ from, to: from, octets: Uint8Array.from(octets) });
  }
  pass(2000);
  expect(a.hasCarrier).toBe(true);
  expect(a.lines).toEqual([]);
});

describe("a flood of control messages", () => {
  const SECOND_PEER = "t2";
  const hello = (ns: number): Uint8Array =>
    encodeMessage(
      { connectionId: a.tunnel?.localConnectionId ?? 0, ns, nr: 0 },
      encodeBody({ type: "HELLO", attributes: {} }),
    ).octets;
  const to = { address: "192.0.2.1", port: 1701 };
  const from = ({ address }: TestNode) => ({ address, port: 1701 });

  beforeEach(() => {
    bothPut();
    pass(2000);
    wire = [];
  });

  it("is processed a few messages a round, so that frames do not wait", () => {
    const next = a.tunnel?.received ?? 0;
    for (let i = 0; i < 20; i++) a.receive({ from: from(b), to, octets: hello(next + i) });
    const rounds: number[] = [];
    for (let before = -1; before !== a.tunnel?.received; ) {
      before = a.tunnel?.received ?? 0;
      expect(rounds.length).toBeLessThan(10);
      a.plane.poll(now);
      rounds.push((a.tunnel?.received ?? 0) - before);
    }
    expect(Math.max(...rounds)).toBeLessThanOrEqual(8);
    expect(rounds.reduce((sum, each) => sum + each, 0)).toBeGreaterThanOrEqual(8);
  });

  it("is due immediately while any message waits", () => {
    for (let i = 0; i < 20; i++) a.receive({ from: from(b), to, octets: hello(i) });
    expect(a.plane.deadline()).toBeLessThanOrEqual(now);
    for (let round = 0; round < 5; round++) a.plane.poll(now);
    expect(a.plane.deadline()).toBeGreaterThan(now);
  });

  it("is dropped and counted, and does not delay another peer", () => {
    const tunnel = { name: SECOND_PEER, remote: from(c), local: to };
    a.plane.apply({ op: "putTunnel", tunnel: tunnelOf({ ...tunnel, control: tunnelControl() }) });
    c.putTunnel(a, { name: SECOND_PEER });
    for (let i = 0; i < 1000; i++) a.receive({ from: from(b), to, octets: hello(i) });
    const [endpoint] = a.table.endpoints.values();
    expect(endpoint?.counters.rxControlDropped).toBeGreaterThan(900);
    const described = () =>
      listing(a.table, now).tunnels.map((state) => a.plane.describeTunnel(state).control);
    const dropped = described().map((control) => control?.dropped);
    expect(dropped).toEqual([endpoint?.counters.rxControlDropped, 0]);
    for (let trip = 0; trip < 3; trip++) deliver();
    expect(described().map((control) => control?.state)).toEqual(["established", "established"]);
    // Some of the flood still waits.
    expect(a.plane.deadline()).toBeLessThanOrEqual(now);
  });

  it("from an address without a tunnel is not accepted", () => {
    const before = a.tunnel?.dropped;
    expect(a.receive({ from: from(c), to, octets: hello(0) })).toBe(false);
    expect(a.tunnel?.dropped).toBe(before);
  });
});

describe("with a backup", () => {
  beforeEach(() => {
    const backups = [{ address: c.address, port: 1701 }];
    a.putTunnel(b, { control: tunnelControl({ backups }) });
    for (const hub of [b, c]) hub.putTunnel(a);
    for (const node of nodes) node.putSession();
    pass(3000);
  });

  const carrierOf = () => a.tunnel?.paths[a.tunnel.active]?.remote.address;

  it("negotiates with both remotes, and forwards by one", () => {
    expect(a.tunnel?.paths.map(({ state }) => state)).toEqual(["established", "established"]);
    expect(carrierOf()).toBe(b.address);
    expect([b.hasCarrier, c.hasCarrier]).toEqual([true, false]);
  });

  it("fails over and fails back without a carrier change in the pod", () => {
    const shown: boolean[] = [];
    const set = a.setCarrier.bind(a);
    a.setCarrier = (device, on) => {
      shown.push(on);
      set(device, on);
    };
    b.isDead = true;
    pass(3000);
    expect(carrierOf()).toBe(c.address);
    expect(a.carried?.peerSessionId).toBe(c.carried?.sessionId);
    expect(c.hasCarrier).toBe(true);
    b.isDead = false;
    pass(8000);
    expect(carrierOf()).toBe(b.address);
    expect(a.carried?.peerSessionId).toBe(b.carried?.sessionId);
    expect(shown).toEqual([]);
  });
});
