import { describe, expect, it } from "vitest";
import { session as sessionOf, tunnel as tunnelOf } from "../../../model/testdata.ts";
import { FakeBatch, FakeDevice, FakeSocket } from "../devices/fake-ports.ts";
import { buildFrame } from "../offload/testdata.ts";
import { GsoType, VNET } from "../offload/vnet-header.ts";
import { Account, COST, Rounds } from "./deficit.ts";
import { createPacketPath } from "./packet-path.ts";
import type { LocalEndpoint, PacketSession } from "./session.ts";
import { Table } from "./table.ts";

const PEER = tunnelOf({}).remote;
const PAYLOAD = new Uint8Array(60_000);

/** A device that always has a large frame to read. */
class Flooding extends FakeDevice {
  readonly #frame = buildFrame({ isIpv4: true, protocol: 6, payload: PAYLOAD, isPartial: true });

  constructor(segmentBytes: number) {
    super();
    this.header.setUint8(VNET.gsoType, GsoType.TcpIpv4);
    this.header.setUint16(VNET.gsoSize, segmentBytes, true);
    this.header.setUint16(VNET.checksumStart, 34, true);
  }

  override read(...args: Parameters<FakeDevice["read"]>): number {
    this.toRead.push(this.#frame);
    return super.read(...args);
  }
}

/** Discards all messages. */
class Sink extends FakeSocket {
  override send(_messages: unknown, _first: number, count: number): number {
    return count;
  }
}

function bench(devices: Readonly<Record<string, FakeDevice>>) {
  let endpoint: LocalEndpoint | undefined;
  const nothing = () => {};
  const path = createPacketPath({
    gsoRefused: nothing,
    segmentRefused: nothing,
    control: () => false,
    createBatch: (arena) => new FakeBatch(arena),
  });
  const socket = new Sink();
  const ports = {
    openSocket: () => socket,
    startEndpoint(started: LocalEndpoint) {
      endpoint = started;
    },
    openDevice: (_session: PacketSession, { key }: { key: string }) => devices[key] as FakeDevice,
    ...{
      stopEndpoint: nothing,
      allowZeroChecksum: nothing,
      reportTrafficClass: nothing,
      startDevice: nothing,
    },
    ...{ setCarrier: nothing, stopDevice: nothing, deleteDevice: nothing },
    ...{ settleSession: nothing, forgetSession: nothing },
    bypassedFrames: () => null,
  };
  const table = new Table(ports, path);
  table.apply({ op: "putTunnel", tunnel: tunnelOf({}) });
  for (const [index, key] of Object.keys(devices).entries()) {
    const session = sessionOf({ key, sessionId: index + 1, rxCookie: "" });
    table.apply({ op: "putSession", session, device: { netns: null, name: key } });
  }
  const session = (key: string) => table.sessions.get(key) as PacketSession;
  return { path, socket, endpoint: endpoint as LocalEndpoint, session };
}

/** Returns the cost of a session's sent bytes and datagrams. */
const taken = ({ counters: { txBytes, txPackets } }: PacketSession): number =>
  txBytes + txPackets * COST.datagram;

/** Runs `count` rounds, each with a turn for all that the rounds admit. */
function serve(count: number, ready: readonly { account: Account; turn(): void }[]): void {
  const rounds = new Rounds();
  for (let round = 0; round < count; round++) {
    rounds.begin();
    for (const { account, turn } of ready) if (rounds.admits(account)) turn();
    rounds.end();
  }
}

describe("devices that always have frames", () => {
  it.each([
    ["more than a thousand segments a frame", 36],
    ["eight hundred segments a frame", 76],
    ["fifty segments a frame", 1200],
  ])("have equal shares with %s", (_what, segmentBytes) => {
    const { path, session } = bench({
      "a/flood": new Flooding(segmentBytes),
      "a/other": new Flooding(1400),
    });
    const sessions = [session("a/flood"), session("a/other")];
    serve(
      400,
      sessions.map((each) => ({
        account: each.account,
        turn: () => void path.transmitter.readDevice(each),
      })),
    );
    path.queue.flush();
    const [flood = 0, other = 0] = sessions.map(taken);
    expect(flood / other).toBeGreaterThan(0.75);
    expect(flood / other).toBeLessThan(1.25);
  });

  it("do not wait if no other device is ready", () => {
    const { path, session } = bench({ "a/flood": new Flooding(36) });
    const flood = session("a/flood");
    let turns = 0;
    const turn = () => {
      turns++;
      path.transmitter.readDevice(flood);
    };
    serve(100, [{ account: flood.account, turn }]);
    expect(turns).toBeGreaterThanOrEqual(50);
  });
});

it("has no debt after many rounds, also if the round counter wrapped around", () => {
  const rounds = [5, 5 + 2 ** 31 - 1, 5 + 2 ** 31, 5 + 2 ** 31 + 1, 5 + 2 ** 32 - 1];
  for (const later of rounds) {
    const account = new Account();
    account.roundsToWait(5);
    account.spend(1_000_000);
    expect(account.roundsToWait(later | 0)).toBe(later === 5 ? 3 : 0);
  }
});

describe("a socket whose datagrams the kernel has joined", () => {
  const header = (sessionId: number) =>
    `00030000${sessionId.toString(16).padStart(8, "0")}00000000`;
  const datagrams = (sessionId: number, bytes: number, count: number) =>
    Buffer.concat(
      Array.from({ length: count }, () =>
        Buffer.concat([Buffer.from(header(sessionId), "hex"), Buffer.alloc(bytes, 1)]),
      ),
    );

  it("has the share of a device", () => {
    const { path, socket, endpoint, session } = bench({
      "a/flood": new FakeDevice(),
      "a/other": new Flooding(1400),
    });
    const bytes = datagrams(1, 60, 64);
    const other = session("a/other");
    const heard = session("a/flood");
    serve(400, [
      {
        account: endpoint.account,
        turn() {
          while (socket.toReceive.length < 64) {
            socket.toReceive.push({ from: PEER, bytes, segment: 72 });
          }
          path.receiver.readEndpoint(endpoint, 1);
        },
      },
      { account: other.account, turn: () => void path.transmitter.readDevice(other) },
    ]);
    path.queue.flush();
    const { rxBytes, rxPackets } = heard.counters;
    // Each frame is written to the device alone.
    const received = rxBytes + rxPackets * (COST.datagram + COST.crossing);
    expect(received / taken(other)).toBeLessThan(1.5);
    expect(received / taken(other)).toBeGreaterThan(0.5);
  });

  it("has a share for each session with received datagrams", () => {
    const { path, socket, endpoint } = bench({
      "a/one": new FakeDevice(),
      "a/two": new FakeDevice(),
      "a/idle": new FakeDevice(),
    });
    for (const sessionId of [1, 2]) {
      socket.toReceive.push({ from: PEER, bytes: datagrams(sessionId, 60, 1) });
    }
    path.receiver.readEndpoint(endpoint, 1);
    expect(endpoint.account.weight).toBe(2);
    path.receiver.readEndpoint(endpoint, 1);
    expect(endpoint.account.weight).toBe(1);
  });
});
