import { describe, expect, it } from "vitest";
import type { Tunnel } from "../../../model/model.ts";
import { buildFrame, type Packet } from "../offload/testdata.ts";
import { Bench } from "./testing/bench.ts";

const PEER = { address: "192.0.2.2", port: 5000 };
const ETHERNET_BYTES = 14;
const HEADER = Buffer.from("000300000000000100000000", "hex");
const DSCP = 0xb8;
const ECN = { "Not-ECT": 0, "ECT(1)": 1, "ECT(0)": 2, CE: 3 } as const;
type Name = keyof typeof ECN;

type Kind = Pick<Packet, "isIpv4" | "tags"> & { readonly isBare?: boolean };
const KINDS: [string, Kind][] = [
  ["IPv4", { isIpv4: true }],
  ["IPv6", { isIpv4: false }],
  ["IPv4 with two tags", { isIpv4: true, tags: [0x8100_0064, 0x8100_0007] }],
  ["bare IPv4", { isIpv4: true, isBare: true }],
  ["bare IPv6", { isIpv4: false, isBare: true }],
];

function frameOf({ isBare, ...kind }: Kind, ecn: number): Buffer {
  const frame = buildFrame({ ...kind, protocol: 17, payload: Buffer.alloc(40), tos: DSCP | ecn });
  return isBare ? frame.subarray(ETHERNET_BYTES) : frame;
}

/** Receives the frames in one message, in a packet with the outer ECN. */
function receive(
  frames: readonly Buffer[],
  outer: number,
  { isBare }: Kind = { isIpv4: true },
  tunnel: Partial<Tunnel> = { ecn: true },
) {
  const bench = new Bench();
  const { state, device } = bench.put(tunnel, isBare ? { pseudowireType: "IP" } : {});
  const { socket, endpoint } = bench.endpoint();
  const parts = frames.flatMap((frame) => [HEADER, frame]);
  const segment = frames.length === 1 ? {} : { segment: HEADER.length + (frames[0]?.length ?? 0) };
  socket.toReceive.push({
    ...{ from: PEER, bytes: Buffer.concat(parts), trafficClass: DSCP | outer },
    ...segment,
  });
  bench.await(endpoint.account);
  bench.path.receiver.readEndpoint(endpoint, 1);
  return { written: device.written.map((frame) => Buffer.from(frame)), counters: state.counters };
}

describe.each(KINDS)("a received frame with %s", (_name, kind) => {
  // RFC 6040, figure 4.
  it.each<[Name, Name, Name | null]>([
    ["Not-ECT", "Not-ECT", "Not-ECT"],
    ["Not-ECT", "ECT(0)", "Not-ECT"],
    ["Not-ECT", "ECT(1)", "Not-ECT"],
    ["Not-ECT", "CE", null],
    ["ECT(0)", "Not-ECT", "ECT(0)"],
    ["ECT(0)", "ECT(0)", "ECT(0)"],
    ["ECT(0)", "ECT(1)", "ECT(1)"],
    ["ECT(0)", "CE", "CE"],
    ["ECT(1)", "Not-ECT", "ECT(1)"],
    ["ECT(1)", "ECT(0)", "ECT(1)"],
    ["ECT(1)", "ECT(1)", "ECT(1)"],
    ["ECT(1)", "CE", "CE"],
    ["CE", "Not-ECT", "CE"],
    ["CE", "ECT(0)", "CE"],
    ["CE", "ECT(1)", "CE"],
    ["CE", "CE", "CE"],
  ])("of inner ECN %s and outer ECN %s has ECN %s", (inner, outer, expected) => {
    const { written, counters } = receive([frameOf(kind, ECN[inner])], ECN[outer], kind);
    expect(written).toEqual(expected === null ? [] : [frameOf(kind, ECN[expected])]);
    const dropped = expected === null ? 1 : 0;
    expect(counters).toMatchObject({ rxCongestionDiscards: dropped, rxErrors: dropped });
  });
});

it("passes a mark on to each datagram that the kernel has joined", () => {
  const ipv4: Kind = { isIpv4: true };
  const inner = [ECN["ECT(0)"], ECN["Not-ECT"], ECN["ECT(1)"], ECN.CE];
  const { written, counters } = receive(
    inner.map((ecn) => frameOf(ipv4, ecn)),
    ECN.CE,
  );
  const marked = frameOf(ipv4, ECN.CE);
  expect(Buffer.concat(written)).toEqual(Buffer.concat([marked, marked, marked]));
  expect(counters).toMatchObject({ rxPackets: 3, rxCongestionDiscards: 1 });
});

it("does not change a frame without an IP header", () => {
  const arp = Buffer.from(`ffffffffffff0200000000010806${"00".repeat(46)}`, "hex");
  expect(receive([arp], ECN.CE).written).toEqual([arp]);
});

it("does not change frames of a tunnel without ecn", () => {
  const frame = frameOf({ isIpv4: true }, ECN["Not-ECT"]);
  expect(receive([frame], ECN.CE, { isIpv4: true }, {}).written).toEqual([frame]);
});

it("does not change frames of another tunnel with the same socket", () => {
  const bench = new Bench();
  bench.put(
    { name: "other", remote: { address: "192.0.2.9", port: 5000 }, ecn: true },
    {
      ...{ key: "d/other", tunnel: "other", sessionId: 9 },
    },
  );
  const { device } = bench.put({}, {});
  const { socket, endpoint } = bench.endpoint();
  const frame = frameOf({ isIpv4: true }, ECN["ECT(0)"]);
  const bytes = Buffer.concat([HEADER, frame]);
  socket.toReceive.push({ from: PEER, bytes, trafficClass: ECN.CE });
  bench.await(endpoint.account);
  bench.path.receiver.readEndpoint(endpoint, 1);
  expect(device.written.map((each) => Buffer.from(each))).toEqual([frame]);
});
