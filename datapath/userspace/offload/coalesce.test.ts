import { describe, expect, it } from "vitest";
import { Random } from "../../../l2tp/testing/random.ts";
import { ETHERNET_HEADER_BYTES } from "../../../net/headers.ts";
import { Coalescer, MAX_COALESCED } from "./coalesce.ts";
import { Protocol } from "./frame.ts";
import { createPacketMemory } from "./packet-memory.ts";
import { Segmenter } from "./segment.ts";
import { ACK, buildFrame, CWR, FIN, type Packet, PSH, referenceSegments } from "./testdata.ts";
import { GsoType } from "./vnet-header.ts";

const SLOT = 70_000;
const PREFIX_BYTES = 12;
const WHOLE = 64 * SLOT;
const OUT = WHOLE + 70_000;
const memory = createPacketMemory(OUT + 20_000);
const segmenter = new Segmenter(memory);
const coalescer = new Coalescer(memory);

interface Large {
  readonly frame: Buffer;
  readonly frames: number;
  readonly gsoType: number;
  readonly gsoSize: number;
  readonly checksumStart: number;
  readonly isBare: boolean;
}

/** "slots": each frame in a slot of its own; "message": adjacent frames, each with a header, as in one message. */
type Layout = "slots" | "message";

/** Coalesces consecutive frames. */
function coalesce(frames: readonly Buffer[], layout: Layout = "slots", isBare = false): Large[] {
  // The previous test may have left a pending frame.
  coalescer.finish();
  const larges: Large[] = [];
  const flush = () => {
    const { frames: count, gsoType, segmentBytes, checksumStart } = coalescer;
    if (count === 0) return;
    coalescer.finish();
    larges.push({
      frame: Buffer.from(memory.bytes.slice(coalescer.at, coalescer.end)),
      frames: count,
      gsoType: count === 1 ? GsoType.None : gsoType,
      gsoSize: segmentBytes,
      checksumStart,
      isBare,
    });
  };
  const places: number[] = [];
  let next = PREFIX_BYTES + 2;
  for (const [index, frame] of frames.entries()) {
    const at = layout === "slots" ? (index % 64) * SLOT + 2 : next;
    places.push(at);
    memory.bytes.fill(7, at - PREFIX_BYTES, at);
    memory.bytes.set(frame, at);
    next = at + frame.length + PREFIX_BYTES;
  }
  for (let index = 0; index < frames.length; ) {
    const at = places[index] as number;
    const { length } = frames[index] as Buffer;
    const joined = coalescer.frames === 0 ? 0 : join(frames, places, index, layout);
    index += joined;
    if (joined > 0) continue;
    flush();
    coalescer.begin(at, at + length, layout === "slots" ? at + SLOT : WHOLE, true, isBare);
    index++;
  }
  flush();
  return larges;
}

/** Joins frames. In a message: all frames of one length that follow, and a shorter one, as the kernel joins them. */
function join(frames: readonly Buffer[], places: number[], index: number, layout: Layout): number {
  const at = places[index] as number;
  const { length } = frames[index] as Buffer;
  let end = at + length;
  if (layout === "slots") return Number(coalescer.join(at, end));
  for (let i = index; frames[i]?.length === length; i++) {
    end = (places[i] as number) + length;
    const following = frames[i + 1]?.length ?? length;
    if (following < length) end = (places[i + 1] as number) + following;
  }
  return coalescer.joinMany(PREFIX_BYTES, at - PREFIX_BYTES, PREFIX_BYTES + length, end);
}

/** Segments a large frame as the kernel would. */
function segmentAgain({ frame, frames, gsoType, gsoSize, ...rest }: Large): Buffer[] {
  if (frames === 1) return [frame];
  memory.bytes.set(frame, WHOLE);
  const { checksumStart, isBare } = rest;
  const end = WHOLE + frame.length;
  const count = segmenter.start(WHOLE, end, gsoType, gsoSize, checksumStart, isBare);
  return Array.from({ length: count }, (_, index) => {
    segmenter.write(index, 1, OUT, 0);
    const bytes = segmenter.headerBytes + segmenter.payloadBytes(index);
    return Buffer.from(memory.bytes.slice(OUT, OUT + bytes));
  });
}

const bytes = (random: Random, length: number) =>
  Uint8Array.from({ length }, () => random.below(256));

const FLOWS = [Protocol.Tcp, Protocol.Udp].flatMap((protocol) =>
  [true, false].map((isIpv4): [string, Packet] => [
    `${protocol === Protocol.Tcp ? "TCP" : "UDP"} over ${isIpv4 ? "IPv4" : "IPv6"}`,
    { isIpv4, protocol, payload: new Uint8Array(4000).map((_, index) => index) },
  ]),
);

describe.each(FLOWS)("a flow of %s", (_name, packet) => {
  it("becomes one frame, which segments into the same frames", () => {
    const frames = referenceSegments(packet, 1000);
    const larges = coalesce(frames);
    expect(larges).toMatchObject([{ frames: 4, gsoSize: 1000 }]);
    // The kernel requires that all segments but the last are full.
    expect(larges.flatMap(segmentAgain)).toEqual(frames);
  });

  it("ends with a short frame", () => {
    const frames = referenceSegments(packet, 900);
    expect(
      coalesce([...frames, ...referenceSegments({ ...packet, id: 6, sequence: 4001 }, 900)]),
    ).toMatchObject([{ frames: 5 }, { frames: 5 }]);
  });

  it("keeps its VLAN tags", () => {
    const frames = referenceSegments({ ...packet, tags: [5, 9] }, 1000);
    const larges = coalesce(frames);
    expect(larges).toHaveLength(1);
    expect(larges.flatMap(segmentAgain)).toEqual(frames);
  });

  it.each<[string, Partial<Packet>]>([
    ["another source", { source: 2 }],
    ["another port", { ports: [40_001, 5201] }],
    ["another TTL", { ttl: 63 }],
    ["another DSCP or ECN", { tos: 1 }],
    ["another tag", { tags: [1] }],
    ...(packet.isIpv4
      ? ([
          ["a gap in the ids", { id: 9 }],
          ["the same id again", { id: 1 }],
          ["a fragment", { fragment: 0x2000 }],
          ["leave to fragment", { fragment: 0 }],
          ["options", { ipOptions: Uint8Array.of(1, 1, 1, 1) }],
        ] as [string, Partial<Packet>][])
      : []),
    ...(packet.protocol === Protocol.Tcp
      ? ([
          ["a gap", { sequence: 1002 }],
          ["the same again", { sequence: 1 }],
          ["another acknowledgement", { acknowledgement: 78 }],
          ["another window", { window: 502 }],
          ["another option", { tcpOptions: Uint8Array.of(1, 1, 1, 1) }],
          ["an urgent pointer", { urgent: 1 }],
          ["FIN", { flags: ACK | FIN }],
          ["CWR", { flags: ACK | CWR }],
          ["ECE", { flags: ACK | 0x40 }],
        ] as [string, Partial<Packet>][])
      : []),
  ])("is not joined by a frame with %s", (_what, change) => {
    const payload = new Uint8Array(1000);
    const first = { ...packet, payload };
    const next = { ...first, id: 2, sequence: 1001 };
    expect(coalesce([buildFrame(first), buildFrame(next)])).toHaveLength(1);
    expect(coalesce([buildFrame(first), buildFrame({ ...next, ...change })])).toHaveLength(2);
  });

  it.each(["first", "second"])("keeps a wrong checksum of the %s frame", (which) => {
    const payload = new Uint8Array(1000);
    const frames = [
      buildFrame({ ...packet, payload }),
      buildFrame({ ...packet, payload, id: 2, sequence: 1001 }),
    ];
    const broken = frames[which === "first" ? 0 : 1] as Buffer;
    broken[broken.length - 1] = 1;
    for (const layout of ["slots", "message"] as const) {
      const larges = coalesce(frames, layout);
      expect(larges).toHaveLength(2);
      expect(larges.flatMap(segmentAgain)).toEqual(frames);
    }
  });

  it("grows up to the maximum IP length", () => {
    const frames = referenceSegments({ ...packet, payload: new Uint8Array(70_000) }, 8000);
    const larges = coalesce(frames);
    expect(larges.map(({ frames: count }) => count)).toEqual([8, 1]);
    expect(larges.flatMap(segmentAgain)).toEqual(frames);
  });

  it("grows up to the limit in memory", () => {
    const [one, two] = referenceSegments({ ...packet, payload: new Uint8Array(2000) }, 1000);
    memory.bytes.set(one as Buffer, 2);
    memory.bytes.set(two as Buffer, 5000);
    const end = 2 + (one as Buffer).length;
    coalescer.begin(2, end, end + 999, true);
    expect(coalescer.join(5000, 5000 + (two as Buffer).length)).toBe(false);
    coalescer.begin(2, end, end + 1000, true);
    expect(coalescer.join(5000, 5000 + (two as Buffer).length)).toBe(true);
  });

  it("holds at most the frames of one call", () => {
    const frames = referenceSegments({ ...packet, payload: new Uint8Array(640) }, 10);
    expect(coalesce(frames)).toMatchObject([{ frames: MAX_COALESCED }]);
  });
});

it("joins adjacent frames until one has another prefix", () => {
  const packet: Packet = { isIpv4: true, protocol: Protocol.Tcp, payload: new Uint8Array(5000) };
  const frames = referenceSegments(packet, 1000);
  const size = PREFIX_BYTES + (frames[0] as Buffer).length;
  const put = () => {
    for (const [index, frame] of frames.entries()) {
      memory.bytes.fill(7, index * size, index * size + PREFIX_BYTES);
      memory.bytes.set(frame, index * size + PREFIX_BYTES);
    }
    coalescer.begin(PREFIX_BYTES, size, SLOT, true);
  };
  put();
  expect(coalescer.joinMany(PREFIX_BYTES, size, size, 5 * size)).toBe(4);
  for (let place = 0; place < PREFIX_BYTES; place++) {
    put();
    memory.bytes[3 * size + place] = 8;
    expect(coalescer.joinMany(PREFIX_BYTES, size, size, 5 * size), `at ${place}`).toBe(2);
    expect(coalescer.frames).toBe(3);
  }
  coalescer.finish();
});

it("joins no frame after PSH, and keeps PSH", () => {
  const packet: Packet = { isIpv4: true, protocol: Protocol.Tcp, payload: new Uint8Array(3000) };
  const pushed = { ...packet, flags: ACK | PSH };
  const next = { ...pushed, id: 4, sequence: 3001 };
  const frames = [...referenceSegments(pushed, 1000), ...referenceSegments(next, 1000)];
  const larges = coalesce(frames);
  expect(larges.map(({ frames: count }) => count)).toEqual([3, 3]);
  expect(larges.flatMap(segmentAgain)).toEqual(frames);
});

it("does not join UDP if the device does not accept it", () => {
  const packet: Packet = { isIpv4: false, protocol: Protocol.Udp, payload: new Uint8Array(2000) };
  const [one, two] = referenceSegments(packet, 1000) as [Buffer, Buffer];
  memory.bytes.set(one, 2);
  memory.bytes.set(two, 5000);
  coalescer.begin(2, 2 + one.length, SLOT, false);
  expect(coalescer.join(5000, 5000 + two.length)).toBe(false);
});

it("does not join UDP without a checksum", () => {
  const packet: Packet = { isIpv4: true, protocol: Protocol.Udp, payload: new Uint8Array(200) };
  const frames = referenceSegments(packet, 100);
  for (const frame of frames) frame.writeUInt16BE(0, 40);
  expect(coalesce(frames)).toHaveLength(2);
});

it.each([
  ["Ethernet frames", false],
  ["IP datagrams", true],
])("segmenting restores any sequence of %s", (_what, isBare) => {
  const random = new Random(11);
  let joined = 0;
  for (let round = 0; round < 3000; round++) {
    const isIpv4 = random.below(2) === 0;
    const base: Packet = {
      isIpv4,
      protocol: random.pick([Protocol.Tcp, Protocol.Udp]),
      payload: bytes(random, 1 + random.below(3000)),
      tags: random.pick([[], [], [5], [100, 7]]),
      tos: random.below(256),
      id: random.pick([1, 0xfffe]),
      sequence: random.pick([1, 0xffff_fc00]),
      flags: ACK | random.pick([0, PSH, FIN, CWR]),
      ...(isIpv4 ? { ipOptions: bytes(random, random.pick([0, 0, 8])) } : {}),
      tcpOptions: bytes(random, random.pick([0, 12])),
    };
    const size = 1 + random.below(900);
    const frames = referenceSegments(base, Math.max(size, base.payload.length >> 5)).flatMap(
      (frame) => {
        const dice = random.below(40);
        if (dice === 0) return [];
        if (dice === 1) return [frame, frame];
        if (dice === 2) return [Buffer.from(random.mutate(frame, 20))];
        return [frame];
      },
    );
    const whole = frames.slice(0, 64).filter((frame) => frame.length < SLOT);
    const headerBytes = isBare ? ETHERNET_HEADER_BYTES + 4 * (base.tags?.length ?? 0) : 0;
    const usual = whole.map((frame) => frame.subarray(headerBytes));
    const larges = coalesce(usual, random.pick(["slots", "message"]), isBare);
    for (const { frames: count } of larges) joined += count - 1;
    expect(larges.flatMap(segmentAgain), `round ${round}`).toEqual(usual);
  }
  expect(joined).toBeGreaterThan(3000);
});
