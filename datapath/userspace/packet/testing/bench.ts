/** The packet path with devices and sockets in memory, for tests. */
import type { Session, Tunnel } from "../../../../model/model.ts";
import { session as sessionOf, tunnel as tunnelOf } from "../../../../model/testdata.ts";
import { FakeBatch, FakeDevice, FakeSocket } from "../../devices/fake-ports.ts";
import { type Account, Rounds } from "../deficit.ts";
import { createPacketPath } from "../packet-path.ts";
import type { LocalEndpoint, PacketSession } from "../session.ts";
import { type Ports, Table } from "../table.ts";

/** Datagrams that arrive between two reads of the socket. */
const FLOOD_BATCH = 64;

/** A packet path and table over devices and sockets in memory. */
export class Bench implements Ports {
  readonly refused: [number, number][] = [];
  joinsRefused = 0;
  readonly control: Uint8Array[] = [];
  batch: FakeBatch | null = null;
  readonly path = createPacketPath({
    gsoRefused: () => this.joinsRefused++,
    segmentRefused: (_tunnel, bytes, errno) => this.refused.push([bytes, errno]),
    control: (_endpoint, _sender, { bytes }, at, end) => {
      this.control.push(bytes.slice(at, end));
      return false;
    },
    createBatch: (arena) => {
      this.batch = new FakeBatch(arena);
      return this.batch;
    },
  });
  readonly #rounds = new Rounds();
  readonly table = new Table(this, this.path);
  readonly devices = new Map<string, FakeDevice>();
  readonly sockets = new Map<string, FakeSocket>();
  readonly endpoints = new Map<FakeSocket, LocalEndpoint>();

  openSocket({ local }: Tunnel): FakeSocket {
    const socket = new FakeSocket();
    this.sockets.set(`${local.address} ${local.port}`, socket);
    return socket;
  }
  startEndpoint(endpoint: LocalEndpoint): void {
    this.endpoints.set(endpoint.socket as FakeSocket, endpoint);
  }
  stopEndpoint(endpoint: LocalEndpoint): void {
    this.endpoints.delete(endpoint.socket as FakeSocket);
  }
  allowZeroChecksum(): void {}
  reportTrafficClass(): void {}
  openDevice(
    _session: PacketSession,
    _config: Session,
    _tunnel: Tunnel,
    { name }: { name: string },
  ): FakeDevice {
    const device = new FakeDevice();
    this.devices.set(name, device);
    return device;
  }
  startDevice(): void {}
  setCarrier(): void {}
  stopDevice(): void {}
  deleteDevice(): void {}
  settleSession(): void {}
  forgetSession(): void {}
  bypassedFrames(): null {
    return null;
  }

  put(tunnel: Partial<Tunnel>, session: Partial<Session>) {
    const config = sessionOf(session);
    this.table.apply({ op: "putTunnel", tunnel: tunnelOf(tunnel) });
    const device = { netns: null, name: config.key };
    this.table.apply({ op: "putSession", session: config, device });
    const state = this.table.sessions.get(config.key);
    const fake = this.devices.get(config.key);
    if (state === undefined || fake === undefined) throw new Error("no session");
    return { state, device: fake };
  }

  endpoint(): { socket: FakeSocket; endpoint: LocalEndpoint } {
    const [entry] = this.endpoints;
    if (entry === undefined) throw new Error("no endpoint");
    return { socket: entry[0], endpoint: entry[1] };
  }

  /** Runs rounds until the account has a turn, as the loop does. */
  await(account: Account): void {
    for (let isAdmitted = false; !isAdmitted; this.#rounds.end()) {
      this.#rounds.begin();
      isAdmitted = this.#rounds.admits(account);
    }
  }

  /**
   * Receives `total` datagrams, reads the devices after each batch, and releases the held frames.
   * @returns how many were read, and how many the counters of the endpoint and of the sessions account for
   */
  flood(
    total: number,
    next: (sent: number) => FakeSocket["toReceive"][number],
    states: readonly PacketSession[],
    readDevice: (device: FakeDevice) => void,
  ): { read: number; accounted: number } {
    const { socket, endpoint } = this.endpoint();
    const { receiver } = this.path;
    for (let sent = 0; sent < total; ) {
      for (let i = 0; i < FLOOD_BATCH && sent < total; i++, sent++) {
        socket.toReceive.push(next(sent));
      }
      this.await(endpoint.account);
      while (socket.toReceive.length > 0) receiver.readEndpoint(endpoint, sent / 1000 + 1);
      receiver.expire(sent / 1000 + 1);
      for (const device of this.devices.values()) readDevice(device);
    }
    for (const state of states) receiver.release(state);
    const { rxPackets: read, ...rejected } = endpoint.counters;
    const ofSessions = states.flatMap(({ counters }) => {
      const { rxPackets, rxErrors, rxSeqDiscards } = counters;
      return [rxPackets, rxErrors, rxSeqDiscards];
    });
    const fates = [...Object.values(rejected), ...ofSessions];
    return { read, accounted: fates.reduce((sum, count) => sum + count, 0) };
  }

  receive(from: { address: string; port: number }, hexes: readonly string[], now = 1): void {
    const { socket, endpoint } = this.endpoint();
    for (const hex of hexes) socket.toReceive.push({ from, bytes: Buffer.from(hex, "hex") });
    while (socket.toReceive.length > 0) {
      this.await(endpoint.account);
      this.path.receiver.readEndpoint(endpoint, now);
    }
  }
}
