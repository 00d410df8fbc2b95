/** The packet path with devices and sockets in memory, for tests. */
import type { Session, Tunnel } from "../../../../model/model.ts";
import { session as sessionOf, tunnel as tunnelOf } from "../../../../model/testdata.ts";
import { FakeBatch, FakeDevice, FakeSocket } from "../../devices/fake-ports.ts";
import { type Account, Rounds } from "../deficit.ts";
import { createPacketPath } from "../packet-path.ts";
import type { LocalEndpoint, PacketSession } from "../session.ts";
import { type Ports, Table } from "../table.ts";

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

  receive(from: { address: string; port: number }, hexes: readonly string[], now = 1): void {
    const { socket, endpoint } = this.endpoint();
    for (const hex of hexes) socket.toReceive.push({ from, bytes: Buffer.from(hex, "hex") });
    while (socket.toReceive.length > 0) {
      this.await(endpoint.account);
      this.path.receiver.readEndpoint(endpoint, now);
    }
  }
}
