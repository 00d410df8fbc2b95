/** Sessions whose devices exchange IP datagrams without a header in front. All else is as for Ethernet. */
import { describe, expect, it } from "vitest";
import { Random } from "../../../l2tp/testing/random.ts";
import { ETHERNET_HEADER_BYTES, IPV4_HEADER_BYTES } from "../../../net/headers.ts";
import type { FakeDevice } from "../devices/fake-ports.ts";
import { buildFrame, type Packet, referenceSegments } from "../offload/testdata.ts";
import { GsoType, NEEDS_CHECKSUM, VNET } from "../offload/vnet-header.ts";
import { Bench } from "./testing/bench.ts";

const PEER = { address: "192.0.2.2", port: 5000 };
const HEADER = "000300000000000100000000";
const IP = { pseudowireType: "IP", mtu: 1500 };
const bare = (frame: Buffer) => frame.subarray(ETHERNET_HEADER_BYTES);
const datagramOf = (packet: Packet) => bare(buildFrame(packet));
const message = (datagram: Uint8Array) => HEADER + Buffer.from(datagram).toString("hex");

const FLOWS = [6, 17].flatMap((protocol) =>
  [true, false].map((isIpv4): [string, Packet] => [
    `${protocol === 6 ? "TCP" : "UDP"} over ${isIpv4 ? "IPv4" : "IPv6"}`,
    { isIpv4, protocol, payload: new Uint8Array(5000).map((_, index) => index) },
  ]),
);

const gsoTypeOf = ({ isIpv4, protocol }: Packet) =>
  protocol === 17 ? GsoType.Udp : isIpv4 ? GsoType.TcpIpv4 : GsoType.TcpIpv6;

/** Writes the virtio_net_hdr that the kernel would write for the device's next frame. */
function describeLarge({ header }: FakeDevice, packet: Packet, gsoSize: number): void {
  header.setUint8(VNET.flags, NEEDS_CHECKSUM);
  header.setUint8(VNET.gsoType, gsoTypeOf(packet));
  header.setUint16(VNET.gsoSize, gsoSize, true);
  header.setUint16(VNET.checksumStart, packet.isIpv4 ? 20 : 40, true);
  header.setUint16(VNET.checksumOffset, packet.protocol === 6 ? 16 : 6, true);
}

describe.each(FLOWS)("%s", (_name, packet) => {
  it.each([100, 1400])("is segmented into %d bytes each", (gsoSize) => {
    const bench = new Bench();
    const { state, device } = bench.put({}, IP);
    device.toRead.push(datagramOf({ ...packet, isPartial: true }));
    describeLarge(device, packet, gsoSize);
    bench.path.transmitter.readDevice(state);
    bench.path.queue.flush();
    const sent = bench.endpoint().socket.sent.map((bytes) => Buffer.from(bytes).subarray(12));
    expect(sent).toEqual(referenceSegments(packet, gsoSize).map(bare));
    expect(state.counters).toMatchObject({ txPackets: sent.length, txErrors: 0 });
  });

  it("has its checksum completed", () => {
    const bench = new Bench();
    const { state, device } = bench.put({}, IP);
    const small = { ...packet, payload: new Uint8Array(700).fill(9) };
    device.toRead.push(datagramOf({ ...small, isPartial: true }));
    describeLarge(device, small, 0);
    device.header.setUint8(VNET.gsoType, GsoType.None);
    bench.path.transmitter.readDevice(state);
    bench.path.queue.flush();
    const [sent] = bench.endpoint().socket.sent;
    expect(Buffer.from(sent ?? []).subarray(12)).toEqual(datagramOf(small));
  });

  it.each(["each by itself", "in one message"])("is delivered joined if received %s", (how) => {
    const bench = new Bench();
    const { state, device } = bench.put({}, IP);
    const datagrams = referenceSegments(packet, 1200).map((frame) =>
      Buffer.from(message(bare(frame)), "hex"),
    );
    const { socket, endpoint } = bench.endpoint();
    if (how === "in one message") {
      const segment = datagrams[0]?.length ?? 0;
      socket.toReceive.push({ from: PEER, bytes: Buffer.concat(datagrams), segment });
    } else socket.toReceive.push(...datagrams.map((bytes) => ({ from: PEER, bytes })));
    bench.path.receiver.readEndpoint(endpoint, 1);
    const headers = (packet.isIpv4 ? 20 : 40) + (packet.protocol === 6 ? 20 : 8);
    expect(device.written.map(({ length }) => length)).toEqual([headers + 5000]);
    expect(state.counters).toMatchObject({ rxPackets: 5, rxBytes: 5 * headers + 5000 });
  });

  it("is segmented again if the device rejects large datagrams", () => {
    const bench = new Bench();
    const { state, device } = bench.put({}, IP);
    device.refusesLarge = true;
    const datagrams = referenceSegments(packet, 1000).map(bare);
    bench.receive(PEER, datagrams.map(message));
    expect(device.written.map((bytes) => Buffer.from(bytes))).toEqual(datagrams);
    expect(state.counters).toMatchObject({ rxPackets: 5, rxErrors: 0 });
  });
});

const GOOD = datagramOf({ isIpv4: true, protocol: 17, payload: new Uint8Array(60) });
const GOOD_IPV6 = datagramOf({ isIpv4: false, protocol: 17, payload: new Uint8Array(60) });
const firstByte = (value: number) => Buffer.concat([Buffer.of(value), GOOD.subarray(1)]);

const NOT_IP: [string, Buffer][] = [
  ["an Ethernet frame", buildFrame({ isIpv4: true, protocol: 17, payload: new Uint8Array(60) })],
  ["version 5", firstByte(0x55)],
  ["version 0", firstByte(0)],
  ["a header of four words", firstByte(0x44)],
  ["PPP", Buffer.concat([Buffer.from("ff030021", "hex"), GOOD])],
  ["half of an IPv6 header", GOOD_IPV6.subarray(0, 39)],
];

it.each(NOT_IP)("drops and counts a received datagram that is not IP: %s", (_what, bytes) => {
  const bench = new Bench();
  const { state, device } = bench.put({}, IP);
  bench.receive(PEER, [message(GOOD), message(bytes), message(GOOD_IPV6)]);
  expect(device.written.map((each) => Buffer.from(each))).toEqual([GOOD, GOOD_IPV6]);
  const dropped = { rxErrors: 1, rxInvalid: 1, rxNotIp: 1 };
  expect(state.counters).toMatchObject({ rxPackets: 2, ...dropped });
});

it("drops datagrams that are shorter than a header or larger than the MTU", () => {
  const bench = new Bench();
  const { state, device } = bench.put({}, { ...IP, mtu: 88 });
  const above = datagramOf({ isIpv4: true, protocol: 17, payload: new Uint8Array(61) });
  bench.receive(PEER, [message(GOOD), message(GOOD.subarray(0, 19)), message(above)]);
  expect(device.written).toHaveLength(1);
  expect(state.counters).toMatchObject({ rxErrors: 2, rxInvalid: 1, rxNotIp: 0, rxOversize: 1 });
});

it.each(NOT_IP)("does not send a datagram that is not IP: %s", (_what, bytes) => {
  const bench = new Bench();
  const { state, device } = bench.put({}, IP);
  device.toRead.push(GOOD, bytes, GOOD_IPV6);
  bench.path.transmitter.readDevice(state);
  bench.path.queue.flush();
  const { sent } = bench.endpoint().socket;
  expect(sent.map((each) => Buffer.from(each).subarray(12))).toEqual([GOOD, GOOD_IPV6]);
  expect(state.counters).toMatchObject({ txPackets: 2, txErrors: 1 });
});

it.each([
  ["None", HEADER],
  ["Default", HEADER.slice(0, 16)],
  ["None", "000300000000000140000007"],
] as const)("suspects a sublayer that differs from ours (%s)", (ours, header) => {
  for (const datagram of [GOOD, GOOD_IPV6]) {
    const bench = new Bench();
    const { state } = bench.put({}, { ...IP, l2SpecificSublayer: ours });
    bench.receive(PEER, [header + datagram.toString("hex")]);
    expect(state.counters).toMatchObject({ rxSublayerSuspect: 1 });
    const right = ours === "None" ? HEADER.slice(0, 16) : HEADER;
    bench.receive(PEER, [right + datagram.toString("hex")]);
    expect(state.counters).toMatchObject({ rxSublayerSuspect: 1 });
  }
});

it("changes to Ethernet and back", () => {
  const bench = new Bench();
  const { state } = bench.put({}, IP);
  const frame = buildFrame({ isIpv4: true, protocol: 6, payload: new Uint8Array(99) });
  bench.receive(PEER, [message(frame)]);
  expect(state.counters).toMatchObject({ rxPackets: 0, rxNotIp: 1 });
  const { pseudowireType: _, ...ethernet } = state.config;
  bench.table.apply({ op: "putSession", session: ethernet, device: "keep" });
  bench.receive(PEER, [message(frame), message(frame)]);
  expect(state.counters).toMatchObject({ rxPackets: 2, rxNotIp: 1 });
  bench.table.apply({ op: "putSession", session: { ...ethernet, ...IP }, device: "keep" });
  bench.receive(PEER, [message(frame)]);
  expect(state.counters).toMatchObject({ rxPackets: 2, rxNotIp: 2 });
});

/** @returns the number of written datagrams @throws if one of them is not IP */
function takeDatagrams({ written }: FakeDevice): number {
  const odd = written.find(
    (bytes) => ![4, 6].includes((bytes[0] ?? 0) >> 4) || bytes.length < IPV4_HEADER_BYTES,
  );
  if (odd !== undefined) throw new Error(`delivered ${Buffer.from(odd).toString("hex")}`);
  return written.splice(0).length;
}

it("survives a million mutated datagrams, counts every one, and delivers only IP", () => {
  const random = new Random(4711);
  const bench = new Bench();
  const sequencing = { send: false, receive: true, reorderTimeoutMs: 20 };
  const states = [
    bench.put({}, IP).state,
    bench.put({}, { ...IP, key: "d/s2", sessionId: 2, rxCookie: "a1b2c3d4" }).state,
    bench.put({}, { ...IP, key: "d/s3", sessionId: 3, sequencing }).state,
  ];
  const headers = [
    HEADER,
    "0003000000000002a1b2c3d400000000",
    "000300000000000340000001",
    "000300000000000340000002",
  ];
  const datagrams = [
    ...FLOWS.flatMap(([, packet]) => {
      const payload = packet.payload.subarray(0, 400);
      return referenceSegments({ ...packet, payload }, 200).map(bare);
    }),
    ...NOT_IP.map(([, bytes]) => bytes),
  ];
  const corpus = headers.flatMap((header) =>
    datagrams.map((bytes) => Buffer.from(header + bytes.toString("hex"), "hex")),
  );
  const TOTAL = 1_000_000;
  let delivered = 0;
  const next = (sent: number) => {
    const bytes = corpus[sent % corpus.length] as Buffer;
    return { from: PEER, bytes: random.below(3) === 0 ? bytes : random.mutate(bytes, 16) };
  };
  const { read, accounted } = bench.flood(TOTAL, next, states, (device) => {
    delivered += takeDatagrams(device);
  });
  expect(read).toBe(TOTAL);
  for (const { counters } of states) {
    expect(counters.rxPackets).toBeGreaterThan(0);
    expect(counters.rxNotIp).toBeGreaterThan(0);
  }
  expect(accounted).toBe(TOTAL);
  expect(delivered).toBeGreaterThan(0);
}, 240_000);
