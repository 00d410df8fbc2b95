import { expect, it } from "vitest";
import { Admission, ConnectionBudget, PeerBudget } from "./admission.ts";
import { type Body, encodeBody, encodeMessage, type Header } from "./message.ts";
import type { Octets } from "./octets.ts";
import { introductionOf } from "./peek.ts";
import { chance } from "./testing/testdata.ts";

const KNOWN_ID = 0xc000_0001;
const random = chance(3);
const draw = () => new DataView(random(4).buffer).getUint32(0);

interface TestPeer {
  readonly budget: PeerBudget;
  readonly connection: ConnectionBudget;
}

/** Its peers have one connection each, whose next number is 5. */
class Bench {
  now = 1000;
  readonly admission = new Admission<TestPeer>(draw, (peer, connectionId) =>
    connectionId === (KNOWN_ID | 0)
      ? {
          budget: peer.connection,
          isDue: (ns, _nr, isAcknowledgement) => ns === 5 && !isAcknowledgement,
        }
      : undefined,
  );

  peer(): TestPeer {
    return { budget: new PeerBudget(), connection: new ConnectionBudget() };
  }

  /** The message is at an offset of a buffer. */
  admits(peer: TestPeer, octets: Octets): boolean {
    const view = new DataView(Uint8Array.from([0xff, ...octets, 0xff]).buffer);
    return this.admission.admits(peer, view, 1, 1 + octets.length, this.now);
  }

  /** So many a second, for a second; how many were admitted. */
  flood(peer: TestPeer, perSecond: number, make: () => Octets): number {
    let admitted = 0;
    for (let i = 0; i < perSecond; i++, this.now += 1000 / perSecond) {
      if (this.admits(peer, make())) admitted++;
    }
    return admitted;
  }
}

function message(header: Partial<Header>, body: Body): Octets {
  return encodeMessage({ connectionId: 0, ns: 0, nr: 0, ...header }, encodeBody(body)).octets;
}

function request(hostName = "peer", id = draw()): Octets {
  const tieBreaker = id.toString(16).padStart(16, "0");
  const rest = { routerId: 1, pseudowireCapabilities: [5], tieBreaker };
  const attributes = { hostName, assignedConnectionId: id, ...rest };
  return message({}, { type: "SCCRQ", attributes });
}

const known = (ns: number, message_: Body = { type: "HELLO", attributes: {} }) =>
  message({ connectionId: KNOWN_ID, ns }, message_);
const viewOf = (octets: Octets) => new DataView(octets.buffer, octets.byteOffset);

it("admits few of many requests, and all due messages of a connection", () => {
  const bench = new Bench();
  const peer = bench.peer();
  expect(bench.flood(peer, 20_000, () => request())).toBeLessThan(50);
  expect(bench.flood(peer, 20_000, () => request())).toBeLessThan(20);
  expect(peer.budget.dropped).toBeGreaterThan(39_900);
  expect(bench.flood(peer, 3000, () => known(5))).toBe(3000);
});

it("limits due and stale messages", () => {
  const bench = new Bench();
  const peer = bench.peer();
  const [due, stale] = [known(5), known(4)];
  const acknowledgement = known(5, { type: "ACK", attributes: {} });
  for (let i = 0; i < 2; i++) bench.flood(peer, 20_000, () => due);
  expect(bench.flood(peer, 20_000, () => due)).toBeLessThan(2500);
  const admitted = bench.flood(peer, 20_000, () => stale);
  expect(admitted).toBeGreaterThan(50);
  expect(admitted).toBeLessThan(200);
  expect(bench.flood(peer, 20_000, () => acknowledgement)).toBeLessThan(200);
});

it("does not limit a peer because of another peer's flood", () => {
  const bench = new Bench();
  const [flooded, other] = [bench.peer(), bench.peer()];
  bench.flood(flooded, 20_000, () => request());
  expect(bench.admits(other, request())).toBe(true);
  expect(other.budget.dropped).toBe(0);
});

it("admits a peer's request with its previous names at once", () => {
  const bench = new Bench();
  const peer = bench.peer();
  peer.budget.introduction = introductionOf(viewOf(request("peer")), 0);
  bench.flood(peer, 20_000, () => request("stranger"));
  expect(bench.admits(peer, request("stranger"))).toBe(false);
  expect(bench.admits(peer, request("peer"))).toBe(true);
});

it("admits a retransmitted request among others with the same names", () => {
  const bench = new Bench();
  const peer = bench.peer();
  bench.flood(peer, 20_000, () => request());
  const real = Array.from({ length: 6 }, () => request());
  expect(real.filter((each) => bench.admits(peer, each))).toEqual([]);
  bench.flood(peer, 20_000, () => request());
  expect(real.filter((each) => bench.admits(peer, each)).length).toBeGreaterThan(4);
});

it("does not admit a flood of repeated messages", () => {
  const bench = new Bench();
  const peer = bench.peer();
  const few = Array.from({ length: 3000 }, () => request());
  let next = 0;
  for (let i = 0; i < 5; i++) {
    bench.flood(peer, 20_000, () => few[next++ % few.length] as Octets);
  }
  expect(bench.flood(peer, 20_000, () => few[next++ % few.length] as Octets)).toBeLessThan(20);
});

it.each<[string, Octets]>([
  ["nothing", new Uint8Array()],
  ["half a header", known(5).slice(0, 11)],
  ["a data message's flags", Uint8Array.from([0, 3, ...known(5).slice(2)])],
  ["a length beyond the end", known(5).slice(0, 15)],
  ["a length within the header", Uint8Array.from([0xc8, 3, 0, 11, ...known(5).slice(4)])],
  ["the ID of no connection", message({ connectionId: 7 }, { type: "HELLO", attributes: {} })],
  ["no ID and no type", message({}, { type: "HELLO", attributes: {} }).slice(0, 12)],
  ["no ID, and another type", message({}, { type: "StopCCN", attributes: {} })],
])("drops and counts %s, however seldom it comes", (_, octets) => {
  const bench = new Bench();
  const peer = bench.peer();
  expect(bench.admits(peer, octets)).toBe(false);
  expect(peer.budget.dropped).toBe(1);
});

it("reads the same names from a request and from a reply, and none from noise", () => {
  const attributes = { hostName: "peer", routerId: 9, pseudowireCapabilities: [5] };
  const [one, other] = [11, 12]
    .map((id) =>
      encodeMessage(
        { connectionId: id, ns: 0, nr: 0 },
        encodeBody({
          type: id === 11 ? "SCCRQ" : "SCCRP",
          attributes: { ...attributes, assignedConnectionId: id, nonce: random(16) },
        }),
        id === 11 ? [] : ["md5"],
      ),
    )
    .map(({ octets }) => introductionOf(viewOf(octets), 0));
  expect(one).not.toBe(0);
  expect(other).toBe(one);
  expect(introductionOf(viewOf(known(5)), 0)).toBe(0);
  for (let i = 0; i < 10_000; i++) {
    const noise = Uint8Array.from([0xc8, 3, 0, 64, ...random(60)]);
    expect(() => introductionOf(viewOf(noise), 0)).not.toThrow();
  }
});
