import { expect, it } from "vitest";
import type { Session } from "../../../model/model.ts";
import { Bench } from "./testing/bench.ts";

const PEER = { address: "192.0.2.2", port: 5000 };
const FRAME = `ffffffffffff0200000000010800${"00".repeat(46)}`;
const NEW = "1111111122222222";
const OLD = "3333333344444444";
const message = (cookie: string) => `0003000000000001${cookie}00000000${FRAME}`;
const ROLLOVER: Partial<Session> = { rxCookie: NEW, previousRxCookie: OLD };

it("accepts both cookies, counts frames with the previous cookie, and drops other frames", () => {
  const bench = new Bench();
  const { state, device } = bench.put({}, ROLLOVER);
  bench.receive(PEER, [message(NEW), message(OLD), message("33333333deadbeef"), message(OLD)]);
  expect(device.written).toHaveLength(3);
  expect(state.counters).toMatchObject({
    ...{ rxPackets: 3, rxPreviousCookie: 2, rxCookieDiscards: 1, rxErrors: 1 },
  });
});

it("drops frames with the previous cookie after the session loses that cookie", () => {
  const bench = new Bench();
  const { state } = bench.put({}, ROLLOVER);
  bench.put({}, { rxCookie: NEW });
  bench.receive(PEER, [message(OLD), message(NEW)]);
  expect(state.counters).toMatchObject({
    ...{ rxPackets: 1, rxPreviousCookie: 0, rxCookieDiscards: 1 },
  });
});

it("orders frames with either cookie by one sequence", () => {
  const bench = new Bench();
  const sequencing = { send: false, receive: true, reorderTimeoutMs: 50 };
  const { state, device } = bench.put({}, { ...ROLLOVER, sequencing });
  const numbered = (cookie: string, sequence: number) =>
    `0003000000000001${cookie}4000000${sequence}${FRAME.slice(0, -2)}0${sequence}`;
  bench.receive(PEER, [numbered(OLD, 0), numbered(NEW, 2), numbered(OLD, 1), numbered(NEW, 3)]);
  expect(device.written.map((frame) => frame.at(-1))).toEqual([0, 1, 2, 3]);
  expect(state.counters).toMatchObject({ rxPreviousCookie: 2, rxSeqDiscards: 0 });
});

it("counts each datagram of a joined message", () => {
  const bench = new Bench();
  const { state } = bench.put({}, ROLLOVER);
  const { socket, endpoint } = bench.endpoint();
  const joined = (cookie: string) => Buffer.from(message(cookie).repeat(5), "hex");
  for (const cookie of [OLD, NEW]) {
    const segment = message(cookie).length / 2;
    socket.toReceive.push({ from: PEER, bytes: joined(cookie), segment });
  }
  bench.await(endpoint.account);
  bench.path.receiver.readEndpoint(endpoint, 1);
  expect(state.counters).toMatchObject({ rxPackets: 10, rxPreviousCookie: 5 });
});
