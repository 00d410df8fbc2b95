/** Switched sessions: frames pass from socket to socket, and each side has its own header. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Random } from "../../../l2tp/testing/random.ts";
import type { Session, Tunnel } from "../../../model/model.ts";
import { session as sessionOf, tunnel as tunnelOf } from "../../../model/testdata.ts";
import { Bench } from "./testing/bench.ts";

const [A, B] = ["d/a", "d/b"] as const;

interface Side {
  readonly encapsulation: Tunnel["encapsulation"];
  readonly isIpv6: boolean;
  readonly sessionId: number;
  readonly peerSessionId: number;
  readonly rxCookie: string;
  readonly txCookie: string;
  readonly hasSublayer: boolean;
  readonly checks: boolean;
  readonly numbers: boolean;
  /** The first received sequence number. */
  readonly sequence: number;
  readonly pseudowire: Pick<Session, "pseudowireType" | "vlan">;
}

const PLAIN: Side = {
  encapsulation: "UDP",
  isIpv6: false,
  sessionId: 1,
  peerSessionId: 2,
  rxCookie: "",
  txCookie: "",
  hasSublayer: true,
  checks: false,
  numbers: false,
  sequence: 0,
  pseudowire: {},
};

/** A switch with fake sockets, and the peers of both sides. */
class SwitchBench {
  readonly bench = new Bench();
  readonly #sides: Record<string, Side>;

  constructor(a: Side, b: Side) {
    this.#sides = { [A]: a, [B]: b };
    this.put(A, B);
    this.put(B, A);
  }

  put(key: string, switchTo: string | undefined, change: Partial<Session> = {}): void {
    const side = this.sideOf(key);
    const { encapsulation, sessionId, peerSessionId, rxCookie, txCookie, pseudowire } = side;
    const ends = { local: endOf(side, key, 1), remote: endOf(side, key, 2) };
    const tunnel = tunnelOf({ name: key, encapsulation, ...ends });
    const session = sessionOf({
      ...{ key, tunnel: key, sessionId, peerSessionId, rxCookie, txCookie, mtu: 9000 },
      l2SpecificSublayer: side.hasSublayer ? "Default" : "None",
      sequencing: { send: side.numbers, receive: side.checks, reorderTimeoutMs: 50 },
      ...pseudowire,
      ...(switchTo === undefined ? {} : { switchTo }),
      ...change,
    });
    this.bench.table.apply({ op: "putTunnel", tunnel });
    this.bench.table.apply({ op: "putSession", session, device: null });
  }

  sideOf(key: string): Side {
    return this.#sides[key] as Side;
  }

  stateOf(key: string) {
    const state = this.bench.table.sessions.get(key);
    if (state === undefined) throw new Error(key);
    return state;
  }

  /** Receives messages for the session, separately or joined by the kernel. */
  receive(key: string, datagrams: readonly Buffer[], isJoined = false, now = 1): void {
    const side = this.sideOf(key);
    const { endpoint } = this.stateOf(key).tunnel;
    const socket = this.socketOf(key);
    const from = endOf(side, key, 2);
    if (isJoined) {
      const segment = datagrams[0]?.length ?? 0;
      socket.toReceive.push({ from, bytes: Buffer.concat(datagrams), segment });
    } else {
      socket.toReceive.push(...datagrams.map((bytes) => ({ from, bytes })));
    }
    while (socket.toReceive.length > 0) {
      this.bench.await(endpoint.account);
      this.bench.path.receiver.readEndpoint(endpoint, now);
    }
    this.bench.path.queue.flush();
  }

  socketOf(key: string) {
    const { socket } = this.stateOf(key).tunnel.endpoint;
    const found = [...this.bench.endpoints.keys()].find((each) => each === socket);
    if (found === undefined) throw new Error(key);
    return found;
  }

  /** Returns the datagrams that the session has sent since the last call. */
  sent(key: string): Buffer[] {
    return this.socketOf(key)
      .sent.splice(0)
      .map((bytes) => Buffer.from(bytes));
  }
}

function endOf({ encapsulation, isIpv6 }: Side, key: string, host: number) {
  const network = key === A ? 1 : 2;
  const address = isIpv6 ? `2001:db8:${network}::${host}` : `192.0.${network}.${host}`;
  return { address, port: encapsulation === "UDP" ? 5000 : 0 };
}

const hex8 = (value: number) => value.toString(16).padStart(8, "0");
const modulo = (value: number) => value & 0xffffff;

/** Returns a message of the session's peer. @param index counts from the first frame */
function fromPeer(side: Side, frame: Buffer, index: number): Buffer {
  const { encapsulation, isIpv6, sessionId, rxCookie, hasSublayer, checks, sequence } = side;
  const number = checks ? 0x40000000 + modulo(sequence + index) : 0;
  const words = `${hex8(sessionId)}${rxCookie}${hasSublayer ? hex8(number) : ""}`;
  const ipHeader = isIpv6 ? "" : `45${"00".repeat(19)}`;
  const head = encapsulation === "UDP" ? "00030000" : ipHeader;
  return Buffer.concat([Buffer.from(head + words, "hex"), frame]);
}

/** Returns a message of the session. @param index counts from the first frame, whose number is `first` */
function toPeer(side: Side, frame: Buffer, index: number, first: number): Buffer {
  const { encapsulation, peerSessionId, txCookie, hasSublayer, numbers } = side;
  const number = numbers ? 0x40000000 + modulo(first + index) : 0;
  const words = `${hex8(peerSessionId)}${txCookie}${hasSublayer ? hex8(number) : ""}`;
  const head = encapsulation === "UDP" ? "00030000" : "";
  return Buffer.concat([Buffer.from(head + words, "hex"), frame]);
}

const cookie = fc.constantFrom("", "a1b2c3d4", "0102030405060708");
const id = fc.integer({ min: 1, max: 0xffffffff });
const sequence = fc.oneof(
  fc.integer({ min: 0, max: 0xffffff }),
  fc.integer({ min: 0xfffff0, max: 0xffffff }),
);
const side = fc
  .record({
    encapsulation: fc.constantFrom("UDP" as const, "IP" as const),
    isIpv6: fc.boolean(),
    sessionId: id,
    peerSessionId: id,
    rxCookie: cookie,
    txCookie: cookie,
    hasSublayer: fc.boolean(),
    checks: fc.boolean(),
    numbers: fc.boolean(),
    sequence,
  })
  .map(
    (one): Side => ({
      ...one,
      checks: one.checks && one.hasSublayer,
      numbers: one.numbers && one.hasSublayer,
      pseudowire: {},
    }),
  );
const vlanId = fc.integer({ min: 1, max: 4094 });
const vlan = fc
  .record({ id: vlanId, peerId: vlanId })
  .map(({ id, peerId }) => ({ id, peerId, pod: "Untagged" as const }));
const ethernet = fc.oneof(
  fc.constant({}),
  vlan.map((one) => ({ pseudowireType: "EthernetVLAN", vlan: one })),
);
const pseudowires = fc.oneof(
  fc.tuple(ethernet, ethernet),
  fc.constant([{ pseudowireType: "IP" }, { pseudowireType: "IP" }] as const),
);

const ADDRESSES = Buffer.from("02000000000202000000000188b5", "hex");
const payload = fc
  .uint8Array({ minLength: 20, maxLength: 1500 })
  .map((bytes) => Buffer.concat([ADDRESSES, bytes]));
const frames = fc.array(payload, { minLength: 1, maxLength: 40 }).chain((list) =>
  fc.constantFrom(
    list,
    list.map(() => list[0] as Buffer),
  ),
);

/** Returns an untagged frame as it is on a side's wire. */
function onWire({ pseudowire: { vlan } }: Side, frame: Buffer): Buffer {
  if (vlan === undefined) return frame;
  const tag = Buffer.from(`8100${vlan.peerId.toString(16).padStart(4, "0")}`, "hex");
  return Buffer.concat([frame.subarray(0, 12), tag, frame.subarray(12)]);
}

/** Receives frames on one side; returns the datagrams that the other side sends. */
function cross(bench: SwitchBench, from: string, to: string, list: readonly Buffer[]): Buffer[] {
  const side = bench.sideOf(from);
  const datagrams = list.map((frame, index) => fromPeer(side, onWire(side, frame), index));
  const isJoined =
    side.encapsulation === "UDP" && new Set(datagrams.map(({ length }) => length)).size === 1;
  // A side that checks sequence numbers reorders early frames.
  const isSwapped = side.checks && list.length > 2;
  if (isSwapped) datagrams.push(...datagrams.splice(1, 1));
  bench.receive(from, datagrams, isJoined);
  return bench.sent(to);
}

describe("a switch", () => {
  it("preserves each frame there and back, between any two sides", () => {
    fc.assert(
      fc.property(
        side,
        side,
        pseudowires,
        frames,
        sequence,
        sequence,
        (a, b, types, list, ...n) => {
          const sides = {
            [A]: { ...a, pseudowire: types[0] },
            [B]: { ...b, pseudowire: types[1] },
          };
          const bench = new SwitchBench(sides[A] as Side, sides[B] as Side);
          for (const [from, to, first] of [
            [A, B, n[0]],
            [B, A, n[1]],
          ] as const) {
            bench.stateOf(to).tx.sequence = first;
            const out = sides[to] as Side;
            const expected = list.map((frame, index) =>
              toPeer(out, onWire(out, frame), index, first),
            );
            expect(cross(bench, from, to, list)).toEqual(expected);
            const bytes = list.reduce((sum, frame) => sum + onWire(out, frame).length, 0);
            const counted = { txPackets: list.length, txBytes: bytes, txErrors: 0 };
            expect(bench.stateOf(to).counters).toMatchObject(counted);
            const received = { rxPackets: list.length, rxErrors: 0, rxNoDevice: 0 };
            expect(bench.stateOf(from).counters).toMatchObject(received);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it("sends a joined message as one message, also with headers of different sizes", () => {
    const b = { ...PLAIN, txCookie: "0102030405060708", sessionId: 7, peerSessionId: 8 };
    const bench = new SwitchBench(PLAIN, b);
    const list = Array.from({ length: 40 }, (_, index) => Buffer.alloc(1400, index + 1));
    const datagrams = list.map((frame, index) => fromPeer(PLAIN, frame, index));
    bench.receive(A, datagrams, true);
    expect(bench.socketOf(B).messages).toEqual([40]);
    expect(bench.sent(B)).toEqual(list.map((frame, index) => toPeer(b, frame, index, 0)));
  });

  it("drops late frames and counts lost frames on the side that checks, and numbers frames on the other", () => {
    const a = { ...PLAIN, checks: true };
    const b = { ...PLAIN, numbers: true };
    const bench = new SwitchBench(a, b);
    const frame = Buffer.alloc(100, 1);
    const send = (numbers: readonly number[], now = 1) => {
      bench.receive(
        A,
        numbers.map((index) => fromPeer(a, frame, index)),
        false,
        now,
      );
    };
    send([0, 1, 0, 4]);
    expect(bench.sent(B)).toHaveLength(2);
    bench.bench.path.receiver.expire(200);
    expect(bench.sent(B)).toEqual([toPeer(b, frame, 2, 0)]);
    send([2, 5], 201);
    expect(bench.sent(B)).toEqual([toPeer(b, frame, 3, 0)]);
    expect(bench.stateOf(A).counters).toMatchObject({ rxSeqDiscards: 2, rxOosPackets: 2 });
    expect(bench.stateOf(B).counters).toMatchObject({ txPackets: 4 });
  });

  it("sends held frames when the session changes or is deleted, before its socket closes", () => {
    const a = { ...PLAIN, checks: true };
    const bench = new SwitchBench(a, PLAIN);
    const frame = Buffer.alloc(100, 1);
    const send = (index: number) => bench.receive(A, [fromPeer(a, frame, index)]);
    send(0);
    send(2);
    expect(bench.sent(B)).toHaveLength(1);
    bench.put(A, B, { mtu: 8000 });
    expect(bench.sent(B)).toHaveLength(1);
    send(5);
    const socket = bench.socketOf(B);
    bench.bench.table.apply({ op: "deleteTunnel", name: A });
    expect(socket.sent).toHaveLength(1);
  });

  it("stops when either session is deleted, and starts when the session is recreated", () => {
    const bench = new SwitchBench(PLAIN, PLAIN);
    const frame = Buffer.alloc(100, 1);
    const send = () => bench.receive(A, [fromPeer(PLAIN, frame, 0)]);
    send();
    expect(bench.sent(B)).toHaveLength(1);
    bench.put(B, undefined);
    send();
    expect(bench.sent(B)).toEqual([]);
    expect(bench.stateOf(A).counters.rxNoDevice).toBe(1);
    bench.put(B, A);
    send();
    expect(bench.sent(B)).toHaveLength(1);
    bench.bench.table.apply({ op: "deleteSession", key: B });
    send();
    expect(bench.stateOf(A).counters.rxNoDevice).toBe(2);
    bench.put(B, A);
    send();
    expect(bench.sent(B)).toHaveLength(1);
  });

  it("joins only two sessions that name each other", () => {
    const bench = new SwitchBench(PLAIN, PLAIN);
    const frame = Buffer.alloc(100, 1);
    const send = () => bench.receive(A, [fromPeer(PLAIN, frame, 0)]);
    bench.put(A, A);
    send();
    bench.put(A, "d/c");
    send();
    expect([...bench.sent(A), ...bench.sent(B)]).toEqual([]);
    expect(bench.stateOf(A).counters.rxNoDevice).toBe(2);
    expect(bench.stateOf(B).partner).toBeNull();
  });

  it("counts frames for a side whose session ID is not negotiated yet", () => {
    const bench = new SwitchBench(PLAIN, { ...PLAIN, peerSessionId: 0 });
    bench.receive(A, [fromPeer(PLAIN, Buffer.alloc(100, 1), 0)]);
    expect(bench.sent(B)).toEqual([]);
    expect(bench.stateOf(B).counters).toMatchObject({ txErrors: 1, txPackets: 0 });
  });

  it("does not affect frames for a device in the same message", () => {
    const bench = new SwitchBench(PLAIN, PLAIN);
    const device = { netns: null, name: "tap" };
    const session = sessionOf({ key: "d/c", tunnel: A, sessionId: 9, mtu: 9000 });
    bench.bench.table.apply({ op: "putSession", session, device });
    const list = Array.from({ length: 9 }, (_, index) => Buffer.alloc(300, index + 1));
    const mixed = list.map((frame, index) =>
      fromPeer({ ...PLAIN, sessionId: index % 3 === 0 ? 1 : 9 }, frame, index),
    );
    bench.receive(A, mixed, true);
    const written = bench.bench.devices.get("tap")?.written.map((bytes) => Buffer.from(bytes));
    expect(written).toEqual(list.filter((_, index) => index % 3 !== 0));
    const switched = list.filter((_, index) => index % 3 === 0);
    expect(bench.sent(B)).toEqual(switched.map((frame, index) => toPeer(PLAIN, frame, index, 0)));
  });

  it("survives a million mutated datagrams, and accounts for every one", () => {
    const random = new Random(4712);
    const a = { ...PLAIN, rxCookie: "a1b2c3d4", checks: true };
    const vlan = { id: 5, peerId: 6, pod: "Untagged" as const };
    const b = { ...PLAIN, numbers: true, pseudowire: { pseudowireType: "EthernetVLAN", vlan } };
    const bench = new SwitchBench(a, b);
    const { endpoint } = bench.stateOf(A).tunnel;
    const [socket, out] = [bench.socketOf(A), bench.socketOf(B)];
    const from = endOf(a, A, 2);
    const TOTAL = 1_000_000;
    for (let sent = 0; sent < TOTAL; ) {
      for (let i = 0; i < 64 && sent < TOTAL; i++, sent++) {
        const bytes = fromPeer(a, Buffer.alloc(60 + (sent % 40), sent), sent);
        socket.toReceive.push({
          from,
          bytes: random.below(3) === 0 ? bytes : random.mutate(bytes, 16),
        });
      }
      bench.bench.await(endpoint.account);
      while (socket.toReceive.length > 0) bench.bench.path.receiver.readEndpoint(endpoint, sent);
      bench.bench.path.receiver.expire(sent);
      bench.bench.path.queue.flush();
      out.sent.splice(0);
    }
    bench.bench.path.receiver.release(bench.stateOf(A));
    const { rxPackets, ...rejected } = endpoint.counters;
    expect(rxPackets).toBe(TOTAL);
    const { counters } = bench.stateOf(A);
    const { txPackets, txErrors } = bench.stateOf(B).counters;
    const lost = Object.values(rejected).reduce((sum, value) => sum + value, 0);
    expect(lost + counters.rxPackets + counters.rxErrors + counters.rxSeqDiscards).toBe(TOTAL);
    expect(txPackets + txErrors).toBe(counters.rxPackets);
    expect(txPackets).toBeGreaterThan(0);
  }, 240_000);
});
