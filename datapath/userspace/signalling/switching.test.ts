/** A node switches sessions between two other nodes, with real control planes and a network in memory. */
import { beforeEach, describe, expect, it } from "vitest";
import { type Decoded, decodeMessage } from "../../../l2tp/control/message.ts";
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
/** Sent messages, with the last octets of both addresses: "1>2". */
let said: { readonly way: string; readonly message: Decoded }[];

const last = ({ address }: { readonly address: string }) => address.split(".").at(-1);

class WireSocket extends FakeSocket {
  readonly #from: SocketAddress;

  constructor(from: SocketAddress) {
    super();
    this.#from = from;
  }

  override sendTo(octets: Uint8Array, sockaddr?: Uint8Array): void {
    const to = decodeSockaddr(sockaddr as Uint8Array);
    const copy = Uint8Array.from(octets);
    wire.push({ from: this.#from, to, octets: copy });
    const message = decodeMessage(copy);
    if ("undecodable" in message) return;
    said.push({ way: `${last(this.#from)}>${last(to)}`, message });
  }
}

class TestNode implements Ports {
  readonly address: string;
  readonly table: Table;
  readonly plane: ControlPlane;
  isDead = false;

  constructor(host: number) {
    this.address = `192.0.2.${host}`;
    const nothing = () => {};
    const path = createPacketPath({
      ...{ gsoRefused: nothing, segmentRefused: nothing },
      ...{ control: () => false, createBatch: () => null },
    });
    this.table = new Table(this, path);
    this.plane = new ControlPlane(this.table, () => now, nothing);
  }

  openSocket({ local }: Tunnel): WireSocket {
    return new WireSocket(local);
  }
  openDevice(): FakeDevice {
    return new FakeDevice();
  }
  setCarrier(): void {}
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

  putTunnel(name: string, remote: TestNode, change: Partial<Tunnel> = {}): void {
    const at = ({ address }: TestNode) => ({ address, port: 1701 });
    const ends = { local: at(this), remote: at(remote) };
    const control = tunnelControl({ hostName: `node-${this.address}` });
    this.plane.apply({ op: "putTunnel", tunnel: tunnelOf({ name, ...ends, control, ...change }) });
  }

  putSession(key: string, tunnel: string, id: string, change: Partial<Session> = {}): void {
    const control = sessionControl({ remoteEndId: id });
    const session = sessionOf({ key, tunnel, control, ...change });
    this.plane.apply({ op: "putSession", session, device: null });
  }

  receive({ from, octets }: Datagram): void {
    for (const endpoint of this.table.endpoints.values()) {
      const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
      const memory = { bytes: octets, view };
      this.plane.receive(endpoint, encodeSockaddr(from), memory, 0, octets.length, now);
    }
  }

  control(key: string) {
    const state = listing(this.table, now).sessions.find(({ session }) => session.key === key);
    return state === undefined ? undefined : this.plane.describeSession(state).control;
  }

  circuit(key: string) {
    return this.control(key)?.established?.peerCircuit;
  }
}

function pass(ms: number): void {
  for (const end = now + ms; now < end; now += 50) {
    for (let round = 0; round < 20 && wire.length > 0; round++) {
      for (const datagram of wire.splice(0)) {
        const from = nodes.find(({ address }) => address === datagram.from.address);
        const to = nodes.find(({ address }) => address === datagram.to.address);
        if (to === undefined || to.isDead || from?.isDead) continue;
        to.receive(datagram);
        to.plane.poll(now);
      }
    }
    for (const node of nodes) if (!node.isDead) node.plane.poll(now);
  }
}

const ACTIVE = { active: true, standby: false };
const [L, R] = ["d/l", "d/r"] as const;
const down = { control: sessionControl({ circuit: { active: false, standby: false } }) };

let left: TestNode;
let middle: TestNode;
let right: TestNode;

function reset(): void {
  wire = [];
  said = [];
  now = 1000;
  nodes = [1, 2, 3].map((host) => new TestNode(host));
  [left, middle, right] = nodes as [TestNode, TestNode, TestNode];
}

beforeEach(reset);

/** @param suffixes of the keys of both sessions: those of another datapath have one (process-view.ts) */
function start(suffixes: readonly [string, string] = ["", ""]): void {
  left.putTunnel("t", middle);
  left.putSession("d/lan", "t", "x");
  right.putTunnel("t", middle);
  right.putSession("d/lan", "t", "y");
  middle.putTunnel("l", left);
  middle.putTunnel("r", right);
  middle.putSession(L + suffixes[0], "l", "x", { switchTo: R });
  middle.putSession(R + suffixes[1], "r", "y", { switchTo: L });
  pass(3000);
}

const disconnects = (way: string) =>
  said.flatMap((each) =>
    each.way === way && each.message.type === "CDN"
      ? (each.message.attributes.resultCode?.result ?? [])
      : [],
  );

/** The results of sessions that end: both nodes may have placed the call, and 13 is a lost tie breaker. */
const endings = (way: string) => disconnects(way).filter((result) => result !== 13);

describe("a switch", () => {
  it.each([
    ["one datapath", "", ""],
    ["another datapath", ":control", ":control"],
    ["two datapaths", ":control", ""],
  ])("signals to each side the circuit status of the other, in %s", (_what, near, far) => {
    start([near, far]);
    expect([left.circuit("d/lan"), right.circuit("d/lan")]).toEqual([ACTIVE, ACTIVE]);
    const remoteEndId = { remoteEndId: "y" };
    right.putSession("d/lan", "t", "y", { control: { ...down.control, ...remoteEndId } });
    pass(200);
    expect(left.circuit("d/lan")).toEqual({ active: false, standby: false });
    expect(right.circuit("d/lan")).toEqual(ACTIVE);
    const standby = sessionControl({ ...remoteEndId, circuit: { active: true, standby: true } });
    right.putSession("d/lan", "t", "y", { control: standby });
    pass(200);
    expect(left.circuit("d/lan")).toEqual({ active: true, standby: true });
    right.putSession("d/lan", "t", "y");
    pass(200);
    expect(left.circuit("d/lan")).toEqual(ACTIVE);
  });

  it("signals no active circuit to a side while the other is not established", () => {
    right.isDead = true;
    start();
    expect(left.circuit("d/lan")).toEqual({ active: false, standby: false });
    right.isDead = false;
    pass(10_000);
    expect(left.circuit("d/lan")).toEqual(ACTIVE);
    right.isDead = true;
    pass(3000);
    expect(left.circuit("d/lan")).toEqual({ active: false, standby: false });
    // A side that becomes silent ends no session.
    expect(endings("2>1")).toEqual([]);
  });

  it.each([
    ["one datapath", "", ""],
    ["two datapaths", "", ":control"],
  ])(
    "ends one side with the result of the other, and reestablishes both, in %s",
    (_what, near, far) => {
      start([near, far]);
      said = [];
      right.plane.apply({ op: "deleteSession", key: "d/lan" });
      pass(200);
      expect(endings("3>2")).toEqual([3]);
      expect(endings("2>1")).toEqual([3]);
      expect(left.control("d/lan")?.lastEnding).toMatchObject({ by: "peer", result: 3 });
      pass(5000);
      expect(left.circuit("d/lan")).toEqual({ active: false, standby: false });
      expect(endings("2>1")).toEqual([3]);
      right.putSession("d/lan", "t", "y");
      pass(40_000);
      expect([left.circuit("d/lan"), right.circuit("d/lan")]).toEqual([ACTIVE, ACTIVE]);
    },
  );

  it("relays the Result Code unchanged", () => {
    start();
    said = [];
    // The right changes its type: it ends the established session, and rejects no call.
    const control = sessionControl({ remoteEndId: "y", pseudowireType: 4 });
    right.putSession("d/lan", "t", "y", { control });
    pass(200);
    const relayed = said.flatMap(({ way, message: { type, attributes } }) =>
      type === "CDN" && attributes.resultCode?.result !== 13 ? [[way, attributes.resultCode]] : [],
    );
    const [first] = relayed;
    expect(first).toMatchObject(["3>2", { message: expect.any(String) }]);
    expect(relayed[1]).toEqual(["2>1", first?.[1]]);
  });

  it("relays nothing of sessions that are no longer switched", () => {
    start();
    middle.putSession(L, "l", "x");
    middle.putSession(R, "r", "y");
    said = [];
    right.plane.apply({ op: "deleteSession", key: "d/lan" });
    pass(3000);
    expect(disconnects("2>1")).toEqual([]);
    expect(left.circuit("d/lan")).toEqual(ACTIVE);
  });

  it("uses the circuit status of the agent if the partner is static", () => {
    left.putTunnel("t", middle);
    left.putSession("d/lan", "t", "x");
    middle.putTunnel("l", left);
    const { control: _, ...plain } = tunnelOf({ name: "r" });
    middle.plane.apply({ op: "putTunnel", tunnel: plain });
    middle.putSession(L, "l", "x", { switchTo: R });
    const session = sessionOf({ key: R, tunnel: "r", sessionId: 9, switchTo: L });
    middle.plane.apply({ op: "putSession", session, device: null });
    pass(3000);
    expect(left.circuit("d/lan")).toEqual(ACTIVE);
  });

  it("adds its name to its calls, and passes on the names of earlier switches", () => {
    start();
    const calls = said.filter(({ message }) => message.type === "ICRQ");
    const by = (way: string) =>
      calls.findLast((each) => each.way === way)?.message.attributes.aggregators;
    expect(by("2>1")).toHaveLength(1);
    expect(by("2>1")?.[0]).toMatch(/^node-192\.0\.2\.2-[0-9a-f]{16}$/);
    expect(by("2>3")).toEqual(by("2>1"));
    expect(by("1>2")).toBeUndefined();
  });
});

describe("a loop", () => {
  /** Both nodes switch between two sessions with each other. */
  function startRing(first: TestNode, second: TestNode): void {
    for (const [one, other] of [
      [first, second],
      [second, first],
    ] as const) {
      one.putTunnel("t", other);
      one.putSession("d/1", "t", "1", { switchTo: "d/2" });
      one.putSession("d/2", "t", "2", { switchTo: "d/1" });
    }
    pass(20_000);
  }

  const standing = (node: TestNode) =>
    ["d/1", "d/2"].filter((key) => node.control(key)?.established).length;

  it("of two switches is rejected with result 26, in any order of calls", () => {
    startRing(left, middle);
    expect(standing(left)).toBeLessThan(2);
    expect([...disconnects("1>2"), ...disconnects("2>1")]).toContain(26);
    const endings = [left, middle].flatMap((node) =>
      ["d/1", "d/2"].map((key) => node.control(key)?.lastEnding?.why ?? ""),
    );
    expect(endings.join()).toContain("loop detected");
  });

  it("of three switches is rejected with result 26, in any order of calls", () => {
    for (let course = 0; course < 100; course++) {
      reset();
      expectRejectedRing();
    }
  });

  function expectRejectedRing(): void {
    const ring = [left, middle, right] as const;
    for (const [index, node] of ring.entries()) {
      node.putTunnel("next", ring[(index + 1) % 3] as TestNode);
      node.putTunnel("before", ring[(index + 2) % 3] as TestNode);
      node.putSession("d/n", "next", `${index}`, { switchTo: "d/b" });
      node.putSession("d/b", "before", `${(index + 2) % 3}`, { switchTo: "d/n" });
    }
    // Random tie breakers decide which nodes call: the names can need several calls to come round.
    const ways = ["1>2", "2>1", "2>3", "3>2", "1>3", "3>1"];
    for (let round = 0; round < 600 && !ways.flatMap(disconnects).includes(26); round++) pass(1000);
    expect(ways.flatMap(disconnects)).toContain(26);
    const circuits = ring.map((node) => [node.circuit("d/n"), node.circuit("d/b")]);
    const active = circuits.flat().filter((circuit) => circuit?.active);
    // After a call of the ring is rejected, the other calls have no active circuit.
    expect(active).toEqual([]);
  }
});
