import { describe, expect, it } from "vitest";
import { Random } from "../../../l2tp/testing/random.ts";
import { ETHERNET_HEADER_BYTES } from "../../../net/headers.ts";
import { Protocol } from "./frame.ts";
import { createPacketMemory } from "./packet-memory.ts";
import { MAX_FRAME_HEADER_BYTES, Segmenter } from "./segment.ts";
import { ACK, buildFrame, CWR, FIN, type Packet, PSH, referenceSegments } from "./testdata.ts";
import { completeChecksum } from "./transport-checksum.ts";
import { GSO_ECN, GsoType } from "./vnet-header.ts";

const AT = 66;
const OUT = 80_000;
const SIZE = 100_000;
const memory = createPacketMemory(SIZE);
const segmenter = new Segmenter(memory);

function gsoTypeOf({ isIpv4, protocol, flags = 0 }: Packet): number {
  if (protocol === Protocol.Udp) return GsoType.Udp;
  return (isIpv4 ? GsoType.TcpIpv4 : GsoType.TcpIpv6) | (flags & CWR ? GSO_ECN : 0);
}

function transportOf({ isIpv4, tags = [], ipOptions }: Packet): number {
  return 14 + tags.length * 4 + (isIpv4 ? 20 + (ipOptions?.length ?? 0) : 40);
}

/** Segments the packet. */
function segment(packet: Packet, gsoSize: number, isBare = false): Buffer[] {
  const frameBytes = isBare ? ETHERNET_HEADER_BYTES : 0;
  const frame = buildFrame({ ...packet, isPartial: true }).subarray(frameBytes);
  memory.bytes.set(frame, AT);
  const end = AT + frame.length;
  const start = transportOf(packet) - frameBytes;
  const count = segmenter.start(AT, end, gsoTypeOf(packet), gsoSize, start, isBare);
  return Array.from({ length: count }, (_, index) => {
    segmenter.write(index, 1, OUT, 0);
    const bytes = segmenter.headerBytes + segmenter.payloadBytes(index);
    return Buffer.from(memory.bytes.slice(OUT, OUT + bytes));
  });
}

function randomPacket(random: Random): Packet {
  const isIpv4 = random.below(2) === 0;
  const bytes = (length: number) => Uint8Array.from({ length }, () => random.below(256));
  return {
    isIpv4,
    protocol: random.pick([Protocol.Tcp, Protocol.Udp]),
    payload: bytes(1 + random.below(random.below(10) === 0 ? 60_000 : 5000)),
    tags: random.pick([[], [], [5], [100, 7]]),
    tos: random.below(256),
    id: random.pick([0, 1, 0xfffe, 0xffff]),
    fragment: random.pick([0, 0x4000]),
    sequence: random.pick([1, 0xffff_fff0]),
    flags: ACK | random.pick([0, PSH, FIN | PSH, CWR, 0x40 | CWR]),
    ...(isIpv4 ? { ipOptions: bytes(random.pick([0, 0, 8])) } : {}),
    tcpOptions: bytes(random.pick([0, 12, 40])),
  };
}

describe("Segmenter", () => {
  it("creates the frames of a sender without offload", () => {
    const random = new Random(1);
    for (let round = 0; round < 500; round++) {
      const packet = randomPacket(random);
      const least = Math.ceil(packet.payload.length / 2000);
      const gsoSize = least + random.below(packet.payload.length < 3000 ? 200 : 9000);
      expect(segment(packet, gsoSize), `round ${round}`).toEqual(
        referenceSegments(packet, gsoSize),
      );
    }
  });

  it("segments a datagram without an Ethernet header", () => {
    const random = new Random(5);
    for (let round = 0; round < 500; round++) {
      const packet = { ...randomPacket(random), tags: [] };
      const gsoSize = Math.ceil(packet.payload.length / 2000) + random.below(9000);
      const bare = (frame: Buffer) => frame.subarray(ETHERNET_HEADER_BYTES);
      expect(segment(packet, gsoSize, true), `round ${round}`).toEqual(
        referenceSegments(packet, gsoSize).map(bare),
      );
    }
  });

  it("changes only the checksum in a frame of one segment", () => {
    const packet: Packet = { isIpv4: true, protocol: Protocol.Tcp, payload: new Uint8Array(10) };
    expect(segment(packet, 1448)).toEqual([buildFrame(packet)]);
  });

  it("rejects an inconsistent virtio header", () => {
    const frame = buildFrame({ isIpv4: true, protocol: Protocol.Tcp, payload: new Uint8Array(99) });
    memory.bytes.set(frame, AT);
    const end = AT + frame.length;
    const start = (gsoType: number, gsoSize: number, checksumStart: number, until = end) =>
      segmenter.start(AT, until, gsoType, gsoSize, checksumStart);
    expect(start(GsoType.TcpIpv4, 48, 34)).toBe(3);
    expect(start(GsoType.TcpIpv4, 0, 34)).toBe(0);
    memory.bytes.set(frame, AT);
    expect(start(GsoType.TcpIpv6, 48, 34)).toBe(0);
    expect(start(3, 48, 34)).toBe(0);
    expect(start(GsoType.TcpIpv4, 48, 14)).toBe(0);
    expect(start(GsoType.TcpIpv4, 48, 60_000)).toBe(0);
    expect(start(GsoType.TcpIpv4, 48, 34, AT + 40)).toBe(0);
  });

  it("survives any virtio header, and never writes out of bounds", () => {
    const random = new Random(3);
    const corpus = [Protocol.Tcp, Protocol.Udp].flatMap((protocol) =>
      [true, false].map((isIpv4) => buildFrame({ isIpv4, protocol, payload: new Uint8Array(300) })),
    );
    let segments = 0;
    let most = 0;
    memory.bytes.fill(0, OUT);
    for (let round = 0; round < 200_000; round++) {
      const frame = random.mutate(random.pick(corpus), 16);
      memory.bytes.set(frame, AT);
      const type = random.pick([1, 4, 5, 0x81, random.below(256)]);
      const start = random.pick([34, 54, random.below(400)]);
      const end = AT + frame.length;
      const count = segmenter.start(AT, end, type, 1 + random.below(400), start);
      for (let index = 0; index < count; index++) {
        segmenter.write(index, 1, OUT, 0);
        segments++;
        expect(segmenter.headerBytes).toBeLessThanOrEqual(MAX_FRAME_HEADER_BYTES);
        most = Math.max(most, segmenter.headerBytes + segmenter.payloadBytes(index));
      }
    }
    expect(segments).toBeGreaterThan(10_000);
    expect(memory.bytes.subarray(OUT + most, SIZE).every((byte) => byte === 0)).toBe(true);
  });
});

describe("completeChecksum", () => {
  it("completes a partial checksum", () => {
    const random = new Random(2);
    for (let round = 0; round < 500; round++) {
      const packet = randomPacket(random);
      const frame = buildFrame({ ...packet, isPartial: true });
      memory.bytes.set(frame, AT);
      const field = packet.protocol === Protocol.Tcp ? 16 : 6;
      const end = AT + frame.length;
      expect(completeChecksum(memory, AT, end, transportOf(packet), field)).toBe(true);
      expect(Buffer.from(memory.bytes.slice(AT, end))).toEqual(buildFrame(packet));
    }
    expect(completeChecksum(memory, AT, AT + 60, 50, 16)).toBe(false);
  });
});
