import { describe, expect, it } from "vitest";
import { Random } from "../../../l2tp/testing/random.ts";
import { encodeSockaddr } from "../../../linux/socket.ts";
import type { Session, Tunnel } from "../../../model/model.ts";
import { createArena } from "./arena.ts";
import { addressPair, CircuitTable } from "./circuit-table.ts";
import { Bench } from "./testing/bench.ts";
import { IoVectors, MessageVectors } from "./vectors.ts";

const words = (address: string) =>
  new Uint32Array(encodeSockaddr({ address, port: 0 }).buffer.slice(0));
const addressOf = (host: number) =>
  `2001:db8::${(host >> 8).toString(16)}:${(host & 255).toString(16)}`;

describe("the circuit table", () => {
  it("finds exactly the present pairs while pairs are added and deleted", () => {
    const vectors = new IoVectors(createArena(65_536), 1);
    vectors.set(0, 0, 64);
    const messages = new MessageVectors(vectors, 1);
    messages.setPieces(0, 0, 1);
    const table = new CircuitTable<{ name: string }>(true);
    const random = new Random(1);
    const there = new Map<string, { name: string }>();
    const at = (source: number, destination: number) => {
      const sockaddr = encodeSockaddr({ address: addressOf(source), port: 0 });
      messages.pretendReceived(0, new Uint8Array(), 0, sockaddr);
      messages.pretendSentTo(0, encodeSockaddr({ address: addressOf(destination), port: 0 }));
      return table.find(messages, 0);
    };
    for (let step = 0; step < 3000; step++) {
      const [remote, local] = [random.below(40), random.below(40)];
      const pair = addressPair(words(addressOf(remote)), words(addressOf(local)));
      const name = `${remote} ${local}`;
      expect(at(remote, local)).toBe(there.get(name) ?? null);
      expect(table.get(pair)).toBe(there.get(name));
      if (there.delete(name)) table.delete(pair);
      else {
        const value = { name };
        there.set(name, value);
        table.set(pair, value);
      }
      expect(table.size).toBe(there.size);
    }
  });
});

const COOKIE = "1111111122222222";
const FRAME = `ffffffffffff0200000000010800${"00".repeat(46)}`;
const message = (id: string, cookie = COOKIE) => `${id}${cookie}${FRAME}`;
const ALL_ONES = 0xffff_ffff;
const LOCAL = { address: "2001:db8:1::1", port: 0 };
const ONE = { address: "2001:db8:2::1", port: 0 };
const TWO = { address: "2001:db8:2::2", port: 0 };

function put(bench: Bench, name: string, tunnel: Partial<Tunnel>, session: Partial<Session> = {}) {
  const plain = { name, encapsulation: "IP", local: LOCAL, remote: ONE, keyed: true } as const;
  return bench.put(
    { ...plain, ...tunnel },
    {
      ...{ key: `shop/${name}`, tunnel: name, sessionId: ALL_ONES, l2SpecificSublayer: "None" },
      ...{ rxCookie: COOKIE, txCookie: COOKIE, ...session },
    },
  );
}

describe("sessions with one ID", () => {
  it("are distinguished by the source address, at a socket with one address", () => {
    const bench = new Bench();
    const one = put(bench, "one", {});
    const two = put(bench, "two", { remote: TWO });
    bench.receive(ONE, [message("ffffffff"), message("ffffffff")]);
    bench.receive(TWO, [message("ffffffff")]);
    expect(one.state.counters).toMatchObject({ rxPackets: 2, rxSourceMismatch: 0 });
    expect(two.state.counters).toMatchObject({ rxPackets: 1, rxSourceMismatch: 0 });
    bench.receive({ address: "2001:db8:2::3", port: 0 }, [message("ffffffff")]);
    bench.receive(ONE, [message("00000007")]);
    expect(bench.endpoint().endpoint.counters).toMatchObject({ rxUnknownSession: 2 });
    expect(bench.endpoint().endpoint.lastUnknownSession).toBe(7);
  });

  it("are distinguished by the destination address, at the socket of a prefix", () => {
    const bench = new Bench();
    const prefixed = (address: string) => ({
      local: { address, port: 0 },
      localPrefix: "2001:db8:1::/64",
    });
    const one = put(bench, "one", prefixed("2001:db8:1::1"));
    const two = put(bench, "two", prefixed("2001:db8:1::2"));
    expect(bench.endpoints.size).toBe(1);
    const { socket, endpoint } = bench.endpoint();
    const bytes = Buffer.from(message("ffffffff"), "hex");
    for (const to of ["2001:db8:1::2", "2001:db8:1::1", "2001:db8:1::2", "2001:db8:1::3"]) {
      socket.toReceive.push({ from: ONE, bytes, to: { address: to, port: 0 } });
    }
    socket.toReceive.push({ from: ONE, bytes });
    bench.await(endpoint.account);
    bench.path.receiver.readEndpoint(endpoint, 1);
    expect(one.state.counters.rxPackets).toBe(1);
    expect(two.state.counters.rxPackets).toBe(2);
    expect(endpoint.counters.rxUnknownSession).toBe(2);
    for (const { device, state } of [two, one]) {
      device.toRead.push(new Uint8Array(60));
      bench.await(state.account);
      bench.path.transmitter.readDevice(state);
    }
    bench.path.queue.flush();
    expect(socket.sources).toEqual(["2001:db8:1::2", "2001:db8:1::1"]);
  });

  it("stay distinct while their tunnels change, and when one is deleted", () => {
    const bench = new Bench();
    const one = put(bench, "one", {});
    const two = put(bench, "two", { remote: TWO });
    put(bench, "one", { remote: { address: "2001:db8:2::9", port: 0 } });
    bench.receive(ONE, [message("ffffffff")]);
    bench.receive({ address: "2001:db8:2::9", port: 0 }, [message("ffffffff")]);
    expect(one.state.counters.rxPackets).toBe(1);
    bench.table.apply({ op: "deleteTunnel", name: "one" });
    bench.receive(TWO, [message("ffffffff")]);
    bench.receive({ address: "2001:db8:2::9", port: 0 }, [message("ffffffff")]);
    expect(two.state.counters.rxPackets).toBe(1);
    expect(bench.endpoint().endpoint.counters.rxUnknownSession).toBe(2);
  });

  it("do not receive frames of an unkeyed tunnel's session with the same ID and local address", () => {
    const bench = new Bench();
    const keyed = put(bench, "keyed", {});
    const plain = bench.put(
      { name: "plain", encapsulation: "IP", local: LOCAL, remote: TWO },
      {
        ...{ key: "shop/plain", tunnel: "plain", sessionId: ALL_ONES, rxCookie: COOKIE },
        l2SpecificSublayer: "None",
      },
    );
    bench.receive(ONE, [message("ffffffff")]);
    bench.receive(TWO, [message("ffffffff"), message("ffffffff")]);
    expect(keyed.state.counters.rxPackets).toBe(1);
    expect(plain.state.counters.rxPackets).toBe(2);
  });

  it("survive a million mutated datagrams, and account for every one", () => {
    const bench = new Bench();
    const random = new Random(7);
    const addresses = [1, 2, 3].map((host) => ({ address: `2001:db8:1::${host}`, port: 0 }));
    const peers = [ONE, TWO, { address: "2001:db8:2::3", port: 0 }];
    const states = [0, 1].map((index) => {
      const local = addresses[index];
      const tunnel = { ...(local && { local }), localPrefix: "2001:db8:1::/64" };
      return put(bench, `c${index}`, { ...tunnel, remote: peers[index] ?? ONE });
    });
    const { socket, endpoint } = bench.endpoint();
    const right = Buffer.from(message("ffffffff"), "hex");
    const TOTAL = 1_000_000;
    for (let sent = 0; sent < TOTAL; ) {
      for (let batch = 0; batch < 64 && sent < TOTAL; batch++, sent++) {
        const bytes = random.mutate(right, 12);
        const to = random.below(16) === 0 ? {} : { to: random.pick(addresses) };
        socket.toReceive.push({ from: random.pick(peers), bytes, ...to });
      }
      while (socket.toReceive.length > 0) {
        bench.await(endpoint.account);
        bench.path.receiver.readEndpoint(endpoint, 1);
      }
      for (const { device } of states) device.written.length = 0;
    }
    const { rxPackets, rxShort, rxControl, rxUnknownSession } = endpoint.counters;
    const taken = states.reduce((sum, { state: { counters } }) => {
      expect(counters.rxPackets).toBeGreaterThan(0);
      return sum + counters.rxPackets + counters.rxErrors + counters.rxSourceMismatch;
    }, 0);
    expect(rxPackets).toBe(TOTAL);
    expect(rxShort + rxControl + rxUnknownSession + taken).toBe(TOTAL);
  });
});
