import { describe, expect, it } from "vitest";
import { Random } from "../../../l2tp/testing/random.ts";
import type { Session } from "../../../model/model.ts";
import { tunnel as tunnelOf } from "../../../model/testdata.ts";
import type { FakeDevice } from "../devices/fake-ports.ts";
import { buildFrame, referenceSegments } from "../offload/testdata.ts";
import { GsoType, NEEDS_CHECKSUM, VNET } from "../offload/vnet-header.ts";
import { Bench } from "./testing/bench.ts";

/** Returns a large frame, and sets the device's header to segments of `segmentBytes`. */
function largeFrame(device: FakeDevice, segmentBytes: number): Uint8Array {
  device.header.setUint8(VNET.gsoType, GsoType.TcpIpv4);
  device.header.setUint16(VNET.gsoSize, segmentBytes, true);
  device.header.setUint16(VNET.checksumStart, 34, true);
  return buildFrame({
    isIpv4: true,
    protocol: 6,
    payload: new Uint8Array(60_000),
    isPartial: true,
  });
}

const SEND = { send: true, receive: false, reorderTimeoutMs: 0 };
const PEER = { address: "192.0.2.2", port: 5000 };
const FRAME = `ffffffffffff020000000001 0800 ${"00".repeat(46)}`.replaceAll(" ", "");
const HEADER = "00030000 00000001 00000000".replaceAll(" ", "");
const numbered = (sequence: number) =>
  `0003000000000001${(0x40000000 + sequence).toString(16)}${FRAME.slice(0, -2)}${sequence.toString(16).padStart(2, "0")}`;

describe("from the device to the socket", () => {
  it("adds the header and keeps the order in batches of any size", () => {
    const bench = new Bench();
    const { state, device } = bench.put({}, { peerSessionId: 0x1234, txCookie: "a1b2c3d4" });
    for (let i = 0; i < 200; i++) device.toRead.push(Uint8Array.of(i, ...new Uint8Array(59)));
    while (device.toRead.length > 0) {
      bench.await(state.account);
      bench.path.transmitter.readDevice(state);
    }
    bench.path.queue.flush();
    const { sent } = bench.endpoint().socket;
    expect(sent.map((bytes) => bytes[16])).toEqual(Array.from({ length: 200 }, (_, i) => i));
    expect(Buffer.from(sent[0] ?? []).toString("hex", 0, 16)).toBe(
      "0003000000001234a1b2c3d400000000",
    );
    expect(state.counters).toMatchObject({ txPackets: 200, txBytes: 200 * 60, txErrors: 0 });
  });

  it("counts messages that the socket rejects, and sends the rest", () => {
    const bench = new Bench();
    const { state, device } = bench.put({}, {});
    bench.endpoint().socket.sendErrno = 101;
    // Each frame is larger than the one before, and so gets its own message.
    for (let i = 0; i < 3; i++) device.toRead.push(new Uint8Array(60 + i));
    bench.path.transmitter.readDevice(state);
    bench.path.queue.flush();
    expect(state.counters).toMatchObject({ txPackets: 2, txErrors: 1 });
  });

  it("sends frames to one remote in one message, and others in separate messages", () => {
    const bench = new Bench();
    const { state, device } = bench.put({}, {});
    const remote = { address: "192.0.2.3", port: 9 };
    const other = bench.put({ name: "t2", remote }, { key: "d/s2", tunnel: "t2", sessionId: 2 });
    const sizes = [60, 60, 60, 40, 60, 61, 61];
    for (const size of sizes) device.toRead.push(new Uint8Array(size));
    bench.path.transmitter.readDevice(state);
    other.device.toRead.push(new Uint8Array(61));
    bench.path.transmitter.readDevice(other.state);
    bench.path.queue.flush();
    const { sent, messages } = bench.endpoint().socket;
    expect(messages).toEqual([4, 1, 2, 1]);
    expect(sent.map(({ length }) => length - 12)).toEqual([...sizes, 61]);
    expect(other.state.counters).toMatchObject({ txPackets: 1, txBytes: 61 });
  });

  it("sends datagrams singly after the kernel refused to segment a message", () => {
    const bench = new Bench();
    const { state, device } = bench.put({}, {});
    const { socket } = bench.endpoint();
    const send = (count: number) => {
      for (let i = 0; i < count; i++) device.toRead.push(new Uint8Array(60));
      bench.path.transmitter.readDevice(state);
      bench.path.queue.flush();
    };
    send(2);
    socket.sendErrno = 22;
    send(3);
    send(2);
    expect(socket.messages).toEqual([2, 1, 1, 1, 1, 1]);
    expect(state.counters).toMatchObject({ txPackets: 7, txErrors: 0 });
    expect(bench.refused).toEqual([[72, 22]]);
    // The path may accept larger datagrams now.
    bench.table.apply({ op: "putTunnel", tunnel: tunnelOf({}) });
    send(2);
    expect(socket.messages.at(-1)).toBe(2);
  });

  it("retries larger datagrams after some thousand messages: the path MTU may have increased", () => {
    const bench = new Bench();
    const { state, device } = bench.put({}, {});
    const { socket } = bench.endpoint();
    const send = () => {
      for (let i = 0; i < 2; i++) device.toRead.push(new Uint8Array(60));
      bench.await(state.account);
      bench.path.transmitter.readDevice(state);
      bench.path.queue.flush();
      return socket.messages.splice(0);
    };
    socket.sendErrno = 22;
    expect(send()).toEqual([1, 1]);
    for (let i = 0; i < 2000; i++) expect(send()).toEqual([1, 1]);
    // The path MTU is still small.
    while (state.tunnel.segmentLimit < 72) expect(send()).toHaveLength(2);
    socket.sendErrno = 22;
    send();
    for (let i = 0; i < 2000; i++) expect(send()).toEqual([1, 1]);
    // Now the path MTU is large.
    let last = send();
    for (let i = 0; i < 100; i++) last = send();
    expect(last).toEqual([2]);
    expect(bench.refused).toEqual([[72, 22]]);
    expect(state.counters.txErrors).toBe(0);
  });

  it("stops segmentation offload if the device computes no checksums", () => {
    const bench = new Bench();
    const { state, device } = bench.put({}, {});
    const { socket } = bench.endpoint();
    socket.sendErrno = 5;
    for (const size of [80, 80, 60, 60, 40, 40]) device.toRead.push(new Uint8Array(size));
    bench.path.transmitter.readDevice(state);
    bench.path.queue.flush();
    for (let i = 0; i < 2; i++) device.toRead.push(new Uint8Array(40));
    bench.path.transmitter.readDevice(state);
    bench.path.queue.flush();
    expect(socket.messages.slice(-2)).toEqual([1, 1]);
    expect(bench.refused).toEqual([[92, 5]]);
    expect(state.counters).toMatchObject({ txPackets: 8, txErrors: 0 });
  });

  it("sends datagrams without a checksum singly: the kernel does not segment those", () => {
    const bench = new Bench();
    const { state, device } = bench.put({ udpChecksum: false }, {});
    for (let i = 0; i < 2; i++) device.toRead.push(new Uint8Array(60));
    bench.path.transmitter.readDevice(state);
    bench.path.queue.flush();
    expect(bench.endpoint().socket.messages).toEqual([1, 1]);
  });

  it.each([40, 1400])("segments a large frame of the device into %d bytes each", (gsoSize) => {
    const bench = new Bench();
    const { state, device } = bench.put({}, { sequencing: SEND, txCookie: "a1b2c3d4" });
    const packet = { isIpv4: true, protocol: 6, payload: new Uint8Array(20_000).fill(7), id: 9 };
    device.toRead.push(buildFrame({ ...packet, isPartial: true }));
    device.header.setUint8(VNET.flags, NEEDS_CHECKSUM);
    device.header.setUint8(VNET.gsoType, GsoType.TcpIpv4);
    device.header.setUint16(VNET.gsoSize, gsoSize, true);
    device.header.setUint16(VNET.checksumStart, 34, true);
    device.header.setUint16(VNET.checksumOffset, 16, true);
    bench.path.transmitter.readDevice(state);
    bench.path.queue.flush();
    const { sent } = bench.endpoint().socket;
    expect(sent.map((bytes) => bytes.subarray(16))).toEqual(referenceSegments(packet, gsoSize));
    expect(sent.map((bytes) => Buffer.from(bytes).readUInt32BE(12) - 0x40000000)).toEqual(
      Array.from({ length: sent.length }, (_, index) => index),
    );
    const count = Math.ceil(20_000 / gsoSize);
    expect(state.counters).toMatchObject({ txPackets: count, txBytes: 20_000 + count * 54 });
  });

  it.each([8, 9000])(
    "drops a large frame with segments of %d bytes, which Linux does not create",
    (gsoSize) => {
      const bench = new Bench();
      const { state, device } = bench.put({}, {});
      const packet = { isIpv4: true, protocol: 6, payload: new Uint8Array(60_000) };
      device.toRead.push(buildFrame({ ...packet, isPartial: true }));
      device.header.setUint8(VNET.gsoType, GsoType.TcpIpv4);
      device.header.setUint16(VNET.gsoSize, gsoSize, true);
      device.header.setUint16(VNET.checksumStart, 34, true);
      bench.path.transmitter.readDevice(state);
      bench.path.queue.flush();
      expect(state.counters).toMatchObject({ txPackets: 0, txErrors: 1 });
    },
  );

  it("reads several small frames in one call after it has seen some", () => {
    const bench = new Bench();
    const { state, device } = bench.put({}, { txCookie: "", l2SpecificSublayer: "None" });
    const frame = (index: number) => Buffer.alloc(60, index);
    const frames = Array.from({ length: 50 }, (_, index) => frame(index + 1));
    const rounds = [10, 10, 20, 4, 6].map((count) => frames.splice(0, count));
    for (const round of rounds) {
      device.toRead.push(...round);
      expect(bench.path.transmitter.readDevice(state)).toBe(true);
      bench.path.queue.flush();
    }
    // Ten singly. Then ten in a batch that could hold more. Then all twenty, in batches that again could hold more.
    expect(bench.batch?.calls).toEqual([10, 16, 4, 16, 4]);
    while (device.toRead.length > 0) bench.path.transmitter.readDevice(state);
    bench.path.queue.flush();
    const { socket } = bench.endpoint();
    expect(socket.sent.map((datagram) => datagram.at(-1))).toEqual(
      Array.from({ length: 50 }, (_, index) => index + 1),
    );
    expect(state.counters).toMatchObject({ txPackets: 50, txBytes: 3000, txErrors: 0 });
  });

  it("ends a turn after some datagrams at any frame size", () => {
    const bench = new Bench();
    const { state, device } = bench.put({}, {});
    const packet = { isIpv4: true, protocol: 6, payload: new Uint8Array(60_000) };
    for (let i = 0; i < 10; i++) device.toRead.push(buildFrame({ ...packet, isPartial: true }));
    device.header.setUint8(VNET.gsoType, GsoType.TcpIpv4);
    device.header.setUint16(VNET.gsoSize, 40, true);
    device.header.setUint16(VNET.checksumStart, 34, true);
    bench.path.transmitter.readDevice(state);
    expect(device.toRead).toHaveLength(9);
  });

  it("reads frames singly for a while after a batch of unexpectedly large ones", () => {
    const bench = new Bench();
    const { state, device } = bench.put({}, {});
    for (let i = 0; i < 64; i++) device.toRead.push(new Uint8Array(60));
    bench.path.transmitter.readDevice(state);
    for (let i = 0; i < 64; i++) device.toRead.push(largeFrame(device, 36));
    bench.await(state.account);
    bench.path.transmitter.readDevice(state);
    // Only the frames that one call had read.
    expect(device.toRead).toHaveLength(64 - 16);
    for (let turns = 1; turns <= 20; turns++) {
      bench.await(state.account);
      bench.path.transmitter.readDevice(state);
      expect(device.toRead).toHaveLength(64 - 16 - turns);
    }
  });

  it("drops frames with a source address other than the pod's", () => {
    const bench = new Bench();
    const { state, device } = bench.put({}, { sourceMac: "02:00:00:00:00:01" });
    const own = Buffer.from(FRAME, "hex");
    const sources = ["020000000001", "020000000002", "030000000001", "020000000001"];
    for (const source of sources) {
      const frame = Buffer.from(own);
      frame.write(source, 6, "hex");
      device.toRead.push(frame);
    }
    device.toRead.push(own);
    bench.path.transmitter.readDevice(state);
    bench.path.queue.flush();
    expect(state.counters).toMatchObject({ txPackets: 3, txSpoofed: 2, txErrors: 0 });
    const { sourceMac: _, ...free } = state.config;
    bench.table.apply({ op: "putSession", session: free, device: "keep" });
    device.toRead.push(Buffer.from(FRAME.replace("020000000001", "020000000009"), "hex"));
    bench.path.transmitter.readDevice(state);
    bench.path.queue.flush();
    expect(state.counters).toMatchObject({ txPackets: 4, txSpoofed: 2 });
  });

  it("drops a frame with an inconsistent virtio header", () => {
    const bench = new Bench();
    const { state, device } = bench.put({}, {});
    device.toRead.push(new Uint8Array(2000));
    device.header.setUint8(VNET.gsoType, GsoType.TcpIpv4);
    bench.path.transmitter.readDevice(state);
    bench.path.queue.flush();
    expect(state.counters).toMatchObject({ txPackets: 0, txErrors: 1 });
  });
});

describe("from the socket to the device", () => {
  it.each<[string, Partial<Session>, string, object, object]>([
    ["a frame", {}, HEADER + FRAME, { rxPackets: 1, rxBytes: 60 }, {}],
    ["a short message", {}, "000300", {}, { rxShort: 1 }],
    ["an L2TPv2 message", {}, "0002000000000001", {}, { rxWrongVersion: 1 }],
    ["a control message", {}, "c803000c00000000", {}, { rxControl: 1 }],
    ["an unknown session", {}, "0003000000000009", {}, { rxUnknownSession: 1 }],
    [
      "another cookie",
      { rxCookie: "ffffffff" },
      HEADER + FRAME,
      { rxCookieDiscards: 1, rxErrors: 1 },
      {},
    ],
    ["half a frame", {}, `${HEADER}ffffffff`, { rxInvalid: 1, rxErrors: 1 }, {}],
    ["a frame above the MTU", { mtu: 41 }, HEADER + FRAME, { rxOversize: 1, rxErrors: 1 }, {}],
    [
      "no sublayer where one is expected",
      {},
      HEADER.slice(0, 16) + FRAME,
      { rxSublayerSuspect: 1 },
      {},
    ],
    [
      "a sublayer where none is expected",
      { l2SpecificSublayer: "None" },
      HEADER + FRAME,
      { rxSublayerSuspect: 1 },
      {},
    ],
    [
      "no number where one is required",
      { sequencing: { send: false, receive: true, reorderTimeoutMs: 0 } },
      HEADER + FRAME,
      { rxSeqDiscards: 1 },
      {},
    ],
  ])("%s", (_what, session, hex, counters, endpointCounters) => {
    const bench = new Bench();
    const { state, device } = bench.put({}, session);
    bench.receive(PEER, [hex]);
    expect(state.counters).toMatchObject(counters);
    expect(bench.endpoint().endpoint.counters).toMatchObject({ rxPackets: 1, ...endpointCounters });
    expect(device.written).toHaveLength(state.counters.rxPackets);
  });

  it("accepts datagrams from the tunnel's remote only", () => {
    const bench = new Bench();
    const { state } = bench.put({}, {});
    bench.receive({ ...PEER, port: 5001 }, [HEADER + FRAME]);
    bench.receive({ ...PEER, address: "192.0.2.3" }, [HEADER + FRAME]);
    expect(state.counters).toMatchObject({ rxSourceMismatch: 2, rxPackets: 0 });
    bench.receive(PEER, [HEADER + FRAME]);
    expect(state.counters.rxPackets).toBe(1);
  });

  it("checks each datagram of a message, and delivers a flow as one frame", () => {
    const bench = new Bench();
    const { state, device } = bench.put({}, {});
    const packet = { isIpv4: true, protocol: 6, payload: new Uint8Array(5000).fill(7) };
    const datagrams = referenceSegments(packet, 1200).map((frame) =>
      Buffer.concat([Buffer.from(HEADER, "hex"), frame]),
    );
    const { socket, endpoint } = bench.endpoint();
    const segment = datagrams[0]?.length ?? 0;
    socket.toReceive.push({ from: PEER, bytes: Buffer.concat(datagrams), segment });
    bench.path.receiver.readEndpoint(endpoint, 1);
    expect(state.counters).toMatchObject({ rxPackets: 5, rxBytes: 5 * 54 + 5000, rxErrors: 0 });
    expect(endpoint.counters.rxPackets).toBe(5);
    expect(device.written.map(({ length }) => length)).toEqual([54 + 5000]);
    // Each datagram from an unexpected source is rejected.
    const other = { ...PEER, port: 9 };
    socket.toReceive.push({ from: other, bytes: Buffer.concat(datagrams), segment });
    bench.path.receiver.readEndpoint(endpoint, 1);
    expect(state.counters).toMatchObject({ rxPackets: 5, rxSourceMismatch: 5 });
  });

  it("writes frames of several sessions in one call, unchanged", () => {
    const bench = new Bench();
    const one = bench.put(
      {},
      { key: "a/one", sessionId: 1, rxCookie: "", l2SpecificSublayer: "None" },
    );
    const two = bench.put(
      {},
      { key: "a/two", sessionId: 2, rxCookie: "", l2SpecificSublayer: "None" },
    );
    const { socket, endpoint } = bench.endpoint();
    // Adjacent frames with only eight bytes in between, fewer than a virtio_net_hdr has.
    const frames = Array.from({ length: 40 }, (_, index) => Buffer.alloc(70, index + 1));
    const datagrams = frames.map((frame, index) =>
      Buffer.concat([Buffer.from(`000300000000000${(index % 2) + 1}`, "hex"), frame]),
    );
    const from = tunnelOf({}).remote;
    socket.toReceive.push({ from, bytes: Buffer.concat(datagrams), segment: 78 });
    const large = Buffer.alloc(5000, 200);
    const header = Buffer.from("0003000000000001", "hex");
    const both = Buffer.concat([header, large, header, large]);
    one.state.maxFrameBytes = 5000;
    socket.toReceive.push({ from, bytes: both, segment: 5008 });
    bench.path.receiver.readEndpoint(endpoint, 0);
    const even = frames.filter((_, index) => index % 2 === 0);
    expect(one.device.written.map((frame) => Buffer.from(frame))).toEqual([...even, large, large]);
    expect(two.device.written).toHaveLength(20);
    expect(one.state.counters).toMatchObject({ rxPackets: 22, rxBytes: 20 * 70 + 10_000 });
    expect(bench.batch?.calls).toEqual([41, 1]);
  });

  it("keeps no tunnel or session whose socket or device cannot be watched", () => {
    const bench = new Bench();
    const fail = () => {
      throw new Error("epoll_ctl: ENOSPC");
    };
    const { startEndpoint, startDevice } = bench;
    bench.startEndpoint = fail;
    const put = () => bench.put({}, { key: "a/one" });
    expect(put).toThrow("ENOSPC");
    expect(bench.table.tunnels.size).toBe(0);
    bench.startEndpoint = startEndpoint;
    bench.startDevice = fail;
    expect(put).toThrow("ENOSPC");
    expect(bench.table.sessions.size).toBe(0);
    bench.startDevice = startDevice;
    expect(put().state.device).not.toBeNull();
    expect(bench.endpoints.size).toBe(1);
  });

  it("counts frames of a batch that the device rejects", () => {
    const bench = new Bench();
    const { state, device } = bench.put({}, { rxCookie: "", l2SpecificSublayer: "None" });
    const { socket, endpoint } = bench.endpoint();
    const header = `00030000${state.config.sessionId.toString(16).padStart(8, "0")}`;
    const bytes = Buffer.concat([Buffer.from(header, "hex"), Buffer.alloc(60)]);
    const from = tunnelOf({}).remote;
    device.writeErrno = 5;
    socket.toReceive.push({ from, bytes }, { from, bytes }, { from, bytes });
    bench.path.receiver.readEndpoint(endpoint, 0);
    expect(state.counters).toMatchObject({ rxPackets: 0, rxErrors: 3 });
  });

  it("counts all frames of a joined frame that the device rejects", () => {
    const bench = new Bench();
    const { state, device } = bench.put({}, {});
    device.writeErrno = 5;
    const packet = { isIpv4: true, protocol: 17, payload: new Uint8Array(3000) };
    const hexes = referenceSegments(packet, 1000).map((frame) => HEADER + frame.toString("hex"));
    bench.receive(PEER, hexes);
    expect(state.counters).toMatchObject({ rxPackets: 0, rxBytes: 0, rxErrors: 3 });
  });

  it("distinguishes tunnels on one port", () => {
    const bench = new Bench();
    const one = bench.put({}, {});
    const remote = { address: "192.0.2.3", port: 9 };
    const two = bench.put({ name: "t2", remote }, { key: "d/s2", tunnel: "t2", sessionId: 2 });
    expect(bench.endpoints.size).toBe(1);
    bench.receive(remote, [`000300000000000200000000${FRAME}`, HEADER + FRAME]);
    expect(two.state.counters.rxPackets).toBe(1);
    expect(one.state.counters).toMatchObject({ rxPackets: 0, rxSourceMismatch: 1 });
  });

  it("reorders frames, and skips missing ones after the timeout", () => {
    const sequencing = { send: false, receive: true, reorderTimeoutMs: 50 };
    const bench = new Bench();
    const { state, device } = bench.put({}, { sequencing });
    bench.receive(PEER, [0, 3, 2, 1, 6, 5].map(numbered));
    const last = () => device.written.map((frame) => frame.at(-1));
    expect(last()).toEqual([0, 1, 2, 3]);
    expect(bench.path.receiver.nextDeadline()).toBe(51);
    bench.path.receiver.expire(51);
    expect(last()).toEqual([0, 1, 2, 3, 5, 6]);
    bench.receive(PEER, [numbered(4)], 60);
    expect(state.counters).toMatchObject({ rxSeqDiscards: 1, rxOosPackets: 1, rxPackets: 6 });
    expect(bench.path.receiver.nextDeadline()).toBe(Number.POSITIVE_INFINITY);
  });
});

it("delivers all frames of a message whose datagrams are out of order", () => {
  const sequencing = { send: false, receive: true, reorderTimeoutMs: 50 };
  const packet = { isIpv4: true, protocol: 6, payload: new Uint8Array(6000).fill(7) };
  const frames = referenceSegments(packet, 1000);
  const datagram = (sequence: number) =>
    Buffer.concat([
      Buffer.from(`0003000000000001${(0x40000000 + sequence).toString(16)}`, "hex"),
      frames[sequence] ?? Buffer.alloc(0),
    ]);
  for (const order of [
    [0, 2, 1, 3, 4, 5],
    [0, 3, 2, 1, 5, 4],
    [2, 1, 0, 5, 4, 3],
  ]) {
    const bench = new Bench();
    const { state, device } = bench.put({}, { sequencing });
    const datagrams = order.map(datagram);
    const { socket, endpoint } = bench.endpoint();
    const segment = datagrams[0]?.length ?? 0;
    socket.toReceive.push({ from: PEER, bytes: Buffer.concat(datagrams), segment });
    bench.path.receiver.readEndpoint(endpoint, 1);
    bench.path.receiver.release(state);
    const payload = device.written.map((frame) => frame.subarray(54));
    const bytes = payload.reduce((sum, { length }) => sum + length, 0);
    const first = order[0] ?? 0;
    expect(bytes, order.join()).toBe((6 - first) * 1000);
    expect(endpoint.counters).toMatchObject({ rxPackets: 6, rxWrongVersion: 0 });
    expect(state.counters.rxPackets + state.counters.rxSeqDiscards).toBe(6);
  }
});

it("segments again a frame that an old kernel's device rejects, and stops joining", () => {
  const bench = new Bench();
  const { state, device } = bench.put({}, {});
  device.refusesLarge = true;
  const packet = { isIpv4: false, protocol: 17, payload: new Uint8Array(3500).fill(5) };
  const frames = referenceSegments(packet, 1000);
  for (let round = 0; round < 2; round++) {
    bench.receive(
      PEER,
      frames.map((frame) => HEADER + frame.toString("hex")),
    );
  }
  expect(device.written.map((frame) => Buffer.from(frame))).toEqual([...frames, ...frames]);
  expect(state.counters).toMatchObject({ rxPackets: 8, rxErrors: 0 });
  expect(bench.joinsRefused).toBe(1);
});

it("drops no frame if the reorder pool is full", () => {
  const bench = new Bench();
  const sequencing = { send: false, receive: true, reorderTimeoutMs: 1000 };
  const SESSIONS = 60;
  const FRAMES = 30;
  const states = Array.from({ length: SESSIONS }, (_, i) => {
    const sessionId = i + 10;
    return bench.put({}, { key: `d/o${i}`, sessionId, sequencing }).state;
  });
  const message = (sessionId: number, sequence: number) =>
    `00030000${sessionId.toString(16).padStart(8, "0")}40${sequence.toString(16).padStart(6, "0")}${FRAME}`;
  for (let i = 0; i < SESSIONS; i++) {
    // Each session misses its second frame, and holds all that follow.
    const numbers = Array.from({ length: FRAMES }, (_, n) => n).filter((n) => n !== 1);
    for (let at = 0; at < numbers.length; at += 16) {
      bench.receive(
        PEER,
        numbers.slice(at, at + 16).map((n) => message(i + 10, n)),
      );
    }
  }
  for (const state of states) bench.path.receiver.release(state);
  for (const { counters } of states) {
    expect(counters).toMatchObject({ rxPackets: FRAMES - 1, rxErrors: 0, rxOosPackets: 1 });
  }
});

/** Frames of VLAN 100 and of others. */
const VLAN_FRAMES = ["81000064", "81000065", "88a80064", "8100006481000007", "81000000", ""].map(
  (tags) => FRAME.slice(0, 24) + tags + FRAME.slice(24),
);

describe.each(["Untagged", "Tagged"] as const)("a VLAN with pod %s", (pod) => {
  const growth = pod === "Untagged" ? 0 : 4;
  const vlan = { id: 100, peerId: 200, pod };
  const session = { pseudowireType: "EthernetVLAN", vlan };

  /** Returns the frame with a tag. */
  function withTag(frame: Uint8Array, vlanId: number): Buffer {
    const tag = Buffer.from(`8100${vlanId.toString(16).padStart(4, "0")}`, "hex");
    return Buffer.concat([frame.subarray(0, 12), tag, frame.subarray(12)]);
  }

  const inPod = (frame: Uint8Array) => (growth === 0 ? frame : withTag(frame, vlan.id));

  it.each([
    [true, 6, GsoType.TcpIpv4, 16],
    [false, 6, GsoType.TcpIpv6, 16],
    [true, 17, GsoType.Udp, 6],
    [false, 17, GsoType.Udp, 6],
  ])("segments large frames with a tag: IPv4 %s, protocol %d", (isIpv4, protocol, gso, field) => {
    const bench = new Bench();
    const { state, device } = bench.put({}, session);
    const packet = { isIpv4, protocol, payload: new Uint8Array(20_000).fill(7), id: 9 };
    device.toRead.push(inPod(buildFrame({ ...packet, isPartial: true })));
    device.header.setUint8(VNET.flags, NEEDS_CHECKSUM);
    device.header.setUint8(VNET.gsoType, gso);
    device.header.setUint16(VNET.gsoSize, 1300, true);
    device.header.setUint16(VNET.checksumStart, 14 + (isIpv4 ? 20 : 40) + growth, true);
    device.header.setUint16(VNET.checksumOffset, field, true);
    bench.path.transmitter.readDevice(state);
    bench.path.queue.flush();
    const { sent, messages } = bench.endpoint().socket;
    const expected = referenceSegments(packet, 1300).map((frame) => withTag(frame, 200));
    expect(sent.map((bytes) => Buffer.from(bytes.subarray(12)))).toEqual(expected);
    // One message with all segments, including the shorter last one.
    expect(messages).toEqual([expected.length]);
    expect(state.counters).toMatchObject({ txPackets: expected.length, txErrors: 0 });
  });

  it("completes the checksum of a frame that is not segmented", () => {
    const bench = new Bench();
    const { state, device } = bench.put({}, session);
    const packet = { isIpv4: true, protocol: 17, payload: new Uint8Array(500).fill(3) };
    device.toRead.push(inPod(buildFrame({ ...packet, isPartial: true })));
    device.header.setUint8(VNET.flags, NEEDS_CHECKSUM);
    device.header.setUint16(VNET.checksumStart, 34 + growth, true);
    device.header.setUint16(VNET.checksumOffset, 6, true);
    bench.path.transmitter.readDevice(state);
    bench.path.queue.flush();
    const [expected = Buffer.alloc(0)] = referenceSegments(packet, 1400);
    const [sent = Buffer.alloc(0)] = bench.endpoint().socket.sent;
    expect(Buffer.from(sent.subarray(12))).toEqual(withTag(expected, 200));
  });

  it.each([true, false])(
    "joins received frames of one flow, as one message: %s",
    (isOneMessage) => {
      const bench = new Bench();
      const { state, device } = bench.put({}, session);
      const packet = { isIpv4: true, protocol: 6, payload: new Uint8Array(6000).fill(7) };
      const datagrams = referenceSegments(packet, 1000).map((frame) =>
        Buffer.concat([Buffer.from(HEADER, "hex"), withTag(frame, 200)]),
      );
      const { socket, endpoint } = bench.endpoint();
      const segment = datagrams[0]?.length ?? 0;
      const bytes = Buffer.concat(datagrams);
      if (isOneMessage) socket.toReceive.push({ from: PEER, bytes, segment });
      else socket.toReceive.push(...datagrams.map((each) => ({ from: PEER, bytes: each })));
      bench.path.receiver.readEndpoint(endpoint, 1);
      const [written = new Uint8Array()] = device.written;
      expect(device.written).toHaveLength(1);
      expect(written).toHaveLength(54 + 6000 + growth);
      if (growth > 0) expect(Buffer.from(written).readUInt32BE(12)).toBe(0x81000000 + vlan.id);
      expect(state.counters).toMatchObject({ rxPackets: 6, rxErrors: 0 });
    },
  );

  it("segments again a frame that an old kernel's device rejects", () => {
    const bench = new Bench();
    const { state, device } = bench.put({}, session);
    device.refusesLarge = true;
    const packet = { isIpv4: false, protocol: 17, payload: new Uint8Array(3500).fill(5) };
    const frames = referenceSegments(packet, 1000);
    const hexes = frames.map((frame) => HEADER + withTag(frame, 200).toString("hex"));
    for (let round = 0; round < 2; round++) bench.receive(PEER, hexes);
    const expected = frames.map((frame) => Buffer.from(inPod(frame)));
    expect(device.written.map((frame) => Buffer.from(frame))).toEqual([...expected, ...expected]);
    expect(state.counters).toMatchObject({ rxPackets: 8, rxErrors: 0 });
  });

  it("counts each frame of a dropped joined frame", () => {
    const bench = new Bench();
    const { state, device } = bench.put({}, session);
    const packet = { isIpv4: true, protocol: 6, payload: new Uint8Array(6000).fill(7) };
    const frames = referenceSegments(packet, 1000).map((frame) => withTag(frame, 300));
    bench.receive(
      PEER,
      frames.map((frame) => HEADER + frame.toString("hex")),
    );
    expect(device.written).toEqual([]);
    expect(state.counters).toMatchObject({ rxPackets: 0, rxErrors: 6, rxOtherVlan: 6 });
  });

  it("accepts frames up to the device's MTU plus the tag", () => {
    const bench = new Bench();
    const { state, device } = bench.put({}, session);
    const largest = state.config.mtu + 14 + 4;
    for (const bytes of [largest, largest + 1]) {
      const frame = withTag(Buffer.alloc(bytes, 5), 200);
      bench.receive(PEER, [HEADER + frame.toString("hex")]);
    }
    expect(device.written.map(({ length }) => length)).toEqual([largest + growth]);
    expect(state.counters).toMatchObject({ rxPackets: 1, rxOversize: 1, rxErrors: 1 });
  });

  it("puts frames in order", () => {
    const sequencing = { send: false, receive: true, reorderTimeoutMs: 50 };
    const bench = new Bench();
    const { device } = bench.put({}, { ...session, sequencing });
    const hexes = [0, 2, 1].map((number) => {
      const hex = numbered(number);
      return hex.slice(0, 24) + withTag(Buffer.from(hex.slice(24), "hex"), 200).toString("hex");
    });
    bench.receive(PEER, hexes);
    expect(device.written.map((frame) => frame.at(-1))).toEqual([0, 1, 2]);
    expect(device.written.map(({ length }) => length)).toEqual([60, 60, 60].map((n) => n + growth));
  });

  it("drops frames with another source address", () => {
    const bench = new Bench();
    const { state, device } = bench.put({}, { ...session, sourceMac: "02:00:00:00:00:01" });
    const own = Buffer.from(FRAME, "hex");
    const other = Buffer.from(FRAME.replace("020000000001", "020000000009"), "hex");
    device.toRead.push(inPod(own), inPod(other));
    bench.path.transmitter.readDevice(state);
    bench.path.queue.flush();
    expect(state.counters).toMatchObject({ txPackets: 1, txSpoofed: 1, txErrors: 0 });
  });
});

it("applies a change of the VLAN to an existing session", () => {
  const bench = new Bench();
  const vlan = { id: 100, peerId: 100, pod: "Untagged" as const };
  const { state, device } = bench.put({}, { pseudowireType: "EthernetVLAN", vlan });
  const [frame = ""] = VLAN_FRAMES;
  bench.receive(PEER, [HEADER + frame]);
  const changed = { ...state.config, vlan: { ...vlan, id: 7, peerId: 7 } };
  bench.table.apply({ op: "putSession", session: changed, device: "keep" });
  bench.receive(PEER, [HEADER + frame]);
  expect(device.written).toHaveLength(1);
  expect(state.counters).toMatchObject({ rxPackets: 1, rxOtherVlan: 1, rxErrors: 1 });
});

it.each<[string, Partial<Session>, readonly string[]]>([
  ["Ethernet", {}, [FRAME]],
  [
    "an untagged VLAN",
    { pseudowireType: "EthernetVLAN", vlan: { id: 100, peerId: 101, pod: "Untagged" } },
    VLAN_FRAMES,
  ],
  [
    "a tagged VLAN",
    { pseudowireType: "EthernetVLAN", vlan: { id: 100, peerId: 102, pod: "Tagged" } },
    VLAN_FRAMES,
  ],
])(
  "survives a million mutated datagrams of %s, and counts every one",
  (_type, of, frames) => {
    const random = new Random(12345);
    const bench = new Bench();
    const receive = { send: false, receive: true, reorderTimeoutMs: 20 };
    const states = [
      bench.put({}, of).state,
      bench.put({}, { ...of, key: "d/s2", sessionId: 2, rxCookie: "a1b2c3d4" }).state,
      bench.put({}, { ...of, key: "d/s3", sessionId: 3, sequencing: receive }).state,
    ];
    const corpus = frames
      .flatMap((frame) => [
        HEADER + frame,
        `000300000000000140000001${frame}`,
        `0003000000000002a1b2c3d400000000${frame}`,
        `000300000000000140000002${frame}`,
        `000300000000000340000001${frame}`,
      ])
      .concat("c803000c", "")
      .map((hex) => Buffer.from(hex, "hex"));
    const TOTAL = 1_000_000;
    const next = () => ({ from: PEER, bytes: random.mutate(random.pick(corpus), 16) });
    const { read, accounted } = bench.flood(TOTAL, next, states, (device) => {
      device.written.length = 0;
    });
    expect(read).toBe(TOTAL);
    for (const { counters } of states) expect(counters.rxPackets).toBeGreaterThan(0);
    expect(accounted).toBe(TOTAL);
  },
  120_000,
);
