/**
 * Forwards ten million frames by the packet path, with ports that allocate nothing. Half of the frames are small, half
 * are joined to large ones. The argument is the pseudowire type. Run with --trace-gc: collections between the two
 * printed lines are caused by the packet path.
 */

import { buildFrame, referenceSegments } from "../../datapath/userspace/offload/testdata.ts";
import { GsoType, VNET, VNET_HEADER_BYTES } from "../../datapath/userspace/offload/vnet-header.ts";
import type { Arena } from "../../datapath/userspace/packet/arena.ts";
import { type Account, Rounds } from "../../datapath/userspace/packet/deficit.ts";
import { createPacketPath } from "../../datapath/userspace/packet/packet-path.ts";
import {
  type AcceptedGso,
  BATCH_FRAMES,
  type DatagramSocket,
  type FrameBatch,
  type FrameDevice,
} from "../../datapath/userspace/packet/ports.ts";
import type { LocalEndpoint } from "../../datapath/userspace/packet/session.ts";
import { Table } from "../../datapath/userspace/packet/table.ts";
import type { MessageVectors } from "../../datapath/userspace/packet/vectors.ts";
import { encodeSockaddr } from "../../linux/socket.ts";
import { session as sessionOf, tunnel as tunnelOf } from "../../model/testdata.ts";

const FRAMES = 10_000_000;
const WARM_UP = 500_000;
const SMALL_BYTES = 64;
const PACKET = { isIpv4: true, protocol: 6, payload: new Uint8Array(60_000) };
const GSO_SIZE = 1400;
const large = buildFrame({ ...PACKET, isPartial: true });
const segments = referenceSegments(PACKET, GSO_SIZE);
const HEADER = Buffer.from("000300000000000100000000", "hex");
const [, , type = "Ethernet"] = process.argv;
const VLAN = { id: 100, peerId: 200, pod: "Untagged" } as const;
const CARRIED =
  type === "EthernetVLAN"
    ? { tag: Buffer.from("810000c8", "hex"), session: { pseudowireType: type, vlan: VLAN } }
    : { tag: Buffer.alloc(0), session: {} };
const onWire = (frame: Uint8Array) =>
  Buffer.concat([HEADER, frame.subarray(0, 12), CARRIED.tag, frame.subarray(12)]);
const datagrams = segments.map(onWire);
const joined = Buffer.concat(datagrams);
const small = onWire(Buffer.alloc(SMALL_BYTES));
const remote = encodeSockaddr(tunnelOf({}).remote);

let isLarge = false;
let written = 0;

class SteadyDevice implements FrameDevice {
  readonly index = 1;
  acceptedGso: AcceptedGso = "all";
  #left = 0;
  read(arena: Arena, at: number): number {
    if (this.#left === 0) {
      this.#left = isLarge ? 4 : 60;
      return 0;
    }
    this.#left--;
    const header = at - VNET_HEADER_BYTES;
    arena.view.setFloat64(header, 0);
    arena.view.setUint16(header + 8, 0);
    if (!isLarge) return SMALL_BYTES;
    arena.view.setUint8(header + VNET.gsoType, GsoType.TcpIpv4);
    arena.view.setUint16(header + VNET.gsoSize, GSO_SIZE, true);
    arena.view.setUint16(header + VNET.checksumStart, 34, true);
    arena.bytes.set(large, at);
    return large.length;
  }
  write(): number {
    written++;
    return 0;
  }
}

class SteadySocket implements DatagramSocket {
  readonly canSegment = true;
  #left = 0;
  receive(messages: MessageVectors, first: number, count: number): number {
    if (this.#left === 0) {
      this.#left = isLarge ? 4 : 60;
      return 0;
    }
    const bytes = isLarge ? joined : small;
    const segment = isLarge ? (datagrams[0]?.length ?? 0) : 0;
    const received = Math.min(count, this.#left);
    this.#left -= received;
    for (let i = first; i < first + received; i++) {
      messages.pretendReceived(i, bytes, segment, remote);
    }
    return received;
  }
  send(_messages: MessageVectors, _first: number, count: number): number {
    return count;
  }
  sendTo(): void {}
  setTransmitChecksum(): void {}
}

class SteadyBatch implements FrameBatch {
  readonly #arena: Arena;
  readonly #at = new Int32Array(BATCH_FRAMES);
  readonly #results = new Int32Array(BATCH_FRAMES);
  #device: SteadyDevice | null = null;
  #isWrite = false;
  constructor(arena: Arena) {
    this.#arena = arena;
  }
  setRead(index: number, device: SteadyDevice, at: number): void {
    this.#isWrite = false;
    this.#set(index, device, at);
  }
  setWrite(index: number, device: SteadyDevice, at: number): void {
    this.#isWrite = true;
    this.#set(index, device, at);
  }
  #set(index: number, device: SteadyDevice, at: number): void {
    this.#device = device;
    this.#at[index] = at;
  }
  run(count: number): void {
    const device = this.#device as SteadyDevice;
    for (let i = 0; i < count; i++) {
      this.#results[i] = this.#isWrite
        ? device.write()
        : device.read(this.#arena, this.#at[i] as number);
    }
  }
  result(index: number): number {
    return this.#results[index] as number;
  }
}

let endpoint: LocalEndpoint | null = null;
const path = createPacketPath({
  gsoRefused: () => {},
  segmentRefused: () => {},
  control: () => false,
  createBatch: (arena) => new SteadyBatch(arena),
});
const table = new Table(
  {
    openSocket: () => new SteadySocket(),
    startEndpoint: (started) => {
      endpoint = started;
    },
    stopEndpoint: () => {},
    allowZeroChecksum: () => {},
    reportTrafficClass: () => {},
    openDevice: () => new SteadyDevice(),
    startDevice: () => {},
    setCarrier: () => {},
    stopDevice: () => {},
    deleteDevice: () => {},
    settleSession: () => {},
    forgetSession: () => {},
    bypassedFrames: () => null,
  },
  path,
);
const config = sessionOf(CARRIED.session);
table.apply({ op: "putTunnel", tunnel: tunnelOf({}) });
table.apply({ op: "putSession", session: config, device: { netns: null, name: "x" } });
const session = table.sessions.get(config.key);
if (session === undefined || endpoint === null) throw new Error("no session");
const { counters } = session;
const moved = () => counters.txPackets + counters.rxPackets;

const rounds = new Rounds();

/** One turn of the loop without other work. */
function turn(account: Account, work: () => void): void {
  rounds.begin();
  if (rounds.admits(account)) work();
  rounds.end();
}

function move(frames: number): void {
  for (const half of [false, true]) {
    isLarge = half;
    const end = moved() + frames / 2;
    let now = 0;
    const known = session as NonNullable<typeof session>;
    const here = endpoint as unknown as LocalEndpoint;
    const transmit = () => void path.transmitter.readDevice(known);
    const receive = () => path.receiver.readEndpoint(here, now);
    for (; moved() < end; now++) {
      turn(known.account, transmit);
      path.queue.flush();
      turn(here.account, receive);
      path.receiver.expire(now);
    }
  }
}

move(WARM_UP);
console.log("begins");
const before = moved();
move(FRAMES);
console.log("ends");
const { txErrors, rxErrors } = counters;
console.log(JSON.stringify({ frames: moved() - before, written, txErrors, rxErrors }));
