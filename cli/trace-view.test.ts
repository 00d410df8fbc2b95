import { expect, it } from "vitest";
import type { TracedFrame, TraceItem } from "../operator/trace-protocol.ts";
import { TraceView } from "./trace-view.ts";

const AT = 1_700_000_000.25;
const FRAME: TracedFrame = {
  shows: "data",
  seconds: AT,
  outgoing: false,
  from: "192.0.2.2:5000",
  to: "192.0.2.1:5000",
  sessionId: 128,
  session: "shop/lan",
  cookie: "matches",
  hasSublayer: true,
  sequence: 7,
  ethernet: { destination: "02:00:00:00:00:01", source: "02:00:00:00:00:02", type: "IPv4" },
  bytes: 98,
  flaws: [],
};

it.each<[string, TraceItem, string]>([
  [
    "the beginning",
    { shows: "begun", object: "L2tpTunnel branch", kinds: ["control", "data"] },
    "Tracing L2tpTunnel branch: control messages, frame headers. Press Ctrl-C to stop.",
  ],
  [
    "a frame",
    FRAME,
    "22:13:20.250000 192.0.2.2:5000 > 192.0.2.1:5000 shop/lan session 128, cookie matches, sublayer, sequence 7, 02:00:00:00:00:02 > 02:00:00:00:00:01, IPv4, 98 octets",
  ],
  [
    "a datagram of an IP pseudowire",
    {
      ...{ ...FRAME, ethernet: null, sequence: null },
      ip: { source: "10.1.0.2", destination: "10.1.0.1", protocol: "ICMP" },
    },
    "22:13:20.250000 192.0.2.2:5000 > 192.0.2.1:5000 shop/lan session 128, cookie matches, sublayer, 10.1.0.2 > 10.1.0.1, ICMP, 98 octets",
  ],
  [
    "a frame of an unknown session",
    {
      ...{ ...FRAME, session: null, cookie: "unknown", sequence: null, ethernet: null },
      flaws: ["no session of the tunnel has this id"],
    },
    "22:13:20.250000 192.0.2.2:5000 > 192.0.2.1:5000 session 128, unknown session, 98 octets\n    ! no session of the tunnel has this id",
  ],
  [
    "a decision",
    { shows: "sequence", seconds: AT, session: "shop/lan", sequence: 7, decision: "delivered" },
    "22:13:20.250000 shop/lan sequence 7: delivered",
  ],
  [
    "counters",
    { shows: "counters", session: "shop/lan", counted: { rxSeqDiscards: 2, resyncs: 1 } },
    "shop/lan: datapath counters in this second: rxSeqDiscards 2, resyncs 1",
  ],
  [
    "omitted frames",
    { shows: "rest", of: "data", count: 12, words: "" },
    "branch: 12 more frames in this second",
  ],
  [
    "an omitted decision",
    { shows: "rest", of: "sequence", count: 1, words: "1 held" },
    "branch: 1 more decision in this second: 1 held",
  ],
  ["the end", { shows: "ended", why: "no such" }, "Trace ended: no such."],
])("says %s in words", (_, item, expected) => {
  expect(new TraceView("branch").render(item)).toBe(expected);
});

it("renders a control message like decode", () => {
  const head = { shows: "control", seconds: AT, outgoing: true, from: "a", to: "b" } as const;
  const body = { type: "HELLO", connectionId: 4, ns: 2, nr: 1, isAuthentic: true } as const;
  const item = { ...head, ...body, attributes: ['Host Name "x"'], flaws: ["missing: y"] };
  expect(new TraceView("branch").render(item)).toBe(
    '22:13:20.250000 a > b HELLO to connection 4, Ns 2, Nr 1, authentic\n    Host Name "x"\n    ! missing: y',
  );
});
