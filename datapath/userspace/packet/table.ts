/** The tunnels and sessions of the process, and how they change. Sockets and devices come from a port. */
import type { Session, Tunnel } from "../../../model/model.ts";
import { pseudowireOf } from "../../../model/pseudowires/index.ts";
import type { Change, DevicePlace } from "../../datapath.ts";
import type { DatapathErrorCode } from "../../failure.ts";
import type { BypassedFrames } from "./bypass.ts";
import type { PacketPath } from "./packet-path.ts";
import type { DatagramSocket, FrameDevice } from "./ports.ts";
import { LocalEndpoint, PacketSession, PacketTunnel } from "./session.ts";

/** What the table needs of the operating system; an open that fails throws, and changed nothing. */
export interface Ports {
  openSocket(tunnel: Tunnel): DatagramSocket;
  /** From now on datagrams of the endpoint are to be read. Where that fails its socket is closed. */
  startEndpoint(endpoint: LocalEndpoint): void;
  stopEndpoint(endpoint: LocalEndpoint): void;
  /** Whether the socket takes datagrams without a checksum (IPv6). */
  allowZeroChecksum(socket: DatagramSocket, allowed: boolean): void;
  /** @param session the one that has it, as it was until now @param config as it will be, in `tunnel` */
  openDevice(
    session: PacketSession,
    config: Session,
    tunnel: Tunnel,
    place: DevicePlace,
  ): FrameDevice;
  /** From now on frames of the device are to be read. Where that fails it is closed. */
  startDevice(session: PacketSession, device: FrameDevice): void;
  /** Whether the device's stack finds a carrier. */
  setCarrier(device: FrameDevice, on: boolean): void;
  /** Closes the device, which stays. */
  stopDevice(device: FrameDevice): void;
  /** Closes the device, and deletes it wherever it stands. */
  deleteDevice(device: FrameDevice): void;
  /** The session, its tunnel or its device has changed. */
  settleSession(session: PacketSession): void;
  /** The session is no more. */
  forgetSession(session: PacketSession): void;
  /** Its frames that bypassed the process; null: its device never could. */
  bypassedFrames(session: PacketSession): BypassedFrames | null;
}

/** A change that makes no sense as things are. */
export class ChangeError extends Error {
  readonly code: DatapathErrorCode;

  constructor(code: DatapathErrorCode, message: string) {
    super(message);
    this.name = "ChangeError";
    this.code = code;
  }
}

function noTunnel({ key, tunnel }: Session): ChangeError {
  return new ChangeError("NoTunnel", `session ${key}: no tunnel ${tunnel}`);
}

export class Table {
  readonly tunnels = new Map<string, PacketTunnel>();
  readonly sessions = new Map<string, PacketSession>();
  readonly endpoints = new Map<string, LocalEndpoint>();
  readonly #ports: Ports;
  readonly #path: Pick<PacketPath, "queue" | "receiver">;

  constructor(ports: Ports, path: Pick<PacketPath, "queue" | "receiver">) {
    this.#ports = ports;
    this.#path = path;
  }

  /** @throws SystemError, ChangeError, UnknownPseudowireError; then nothing has changed, but that a device may have been closed */
  apply(change: Change): void {
    // What is queued was encoded for the configuration before.
    this.#path.queue.flush();
    switch (change.op) {
      case "putTunnel":
        return this.#putTunnel(change.tunnel);
      case "deleteTunnel":
        return this.#deleteTunnel(change.name);
      case "putSession":
        return this.#putSession(change.session, change.device);
      case "deleteSession":
        return this.#deleteSession(change.key);
      case "deleteDevice":
        return this.#deleteDevice(change.key);
    }
  }

  bypassedFrames(session: PacketSession): BypassedFrames | null {
    return this.#ports.bypassedFrames(session);
  }

  /** When the last frame came, in the process or past it, by the loop's clock; −1: none yet. */
  lastHeardMs(session: PacketSession, now: number): number {
    const { lastReceivedMs } = session;
    const msAgo = this.bypassedFrames(session)?.lastReceivedMsAgo ?? null;
    return msAgo === null ? lastReceivedMs : Math.max(lastReceivedMs, now - msAgo);
  }

  /** Whether the peer's circuit is there, as the session's device shows it. */
  setCarrier(key: string, on: boolean): void {
    const session = this.sessions.get(key);
    if (session === undefined || session.hasCarrier === on) return;
    session.hasCarrier = on;
    if (session.device === null) return;
    this.#ports.setCarrier(session.device, on);
    this.#ports.settleSession(session);
  }

  /** The device failed: somebody deleted it, or its namespace died. */
  loseDevice(session: PacketSession): void {
    if (session.device === null) return;
    this.#ports.stopDevice(session.device);
    session.device = null;
    this.#ports.settleSession(session);
  }

  #deleteDevice(key: string): void {
    const session = this.sessions.get(key);
    if (session === undefined || session.device === null) return;
    this.#ports.deleteDevice(session.device);
    session.device = null;
    this.#ports.settleSession(session);
  }

  #putTunnel(config: Tunnel): void {
    const tunnel = this.tunnels.get(config.name);
    const before = tunnel?.endpoint;
    const endpoint = this.#endpointFor(config);
    if (tunnel === undefined) {
      this.tunnels.set(config.name, new PacketTunnel(config, endpoint));
      endpoint.users++;
    } else {
      const moves = endpoint !== tunnel.endpoint;
      // The addresses of a keyed tunnel are what its session is known by.
      const isOther = moves || tunnel.pair !== null || config.keyed === true;
      if (isOther) for (const session of tunnel.sessions) this.#stopReceiving(session);
      if (moves) {
        endpoint.users++;
        tunnel.endpoint.users--;
      }
      tunnel.configure(config, endpoint);
      for (const session of tunnel.sessions) {
        session.configure(session.config, tunnel);
        if (isOther) endpoint.giveTo(session);
        this.#ports.settleSession(session);
      }
    }
    this.#settleEndpoint(endpoint);
    if (before !== undefined && before !== endpoint) this.#settleEndpoint(before);
  }

  #deleteTunnel(name: string): void {
    const tunnel = this.tunnels.get(name);
    if (tunnel === undefined) return;
    for (const session of [...tunnel.sessions]) this.#deleteSession(session.config.key);
    this.tunnels.delete(name);
    tunnel.endpoint.users--;
    this.#settleEndpoint(tunnel.endpoint);
  }

  #putSession(config: Session, place: DevicePlace | "keep" | null): void {
    const tunnel = this.tunnels.get(config.tunnel);
    if (tunnel === undefined) throw noTunnel(config);
    // Of a type that a newer agent knows: refused before anything changes.
    pseudowireOf(config);
    const known = this.sessions.get(config.key);
    const session = known ?? new PacketSession(config, tunnel);
    if (place !== "keep") this.#changeDevice(session, config, tunnel.config, place);
    if (known !== undefined) {
      this.#path.receiver.release(known);
      this.#stopReceiving(known);
      known.tunnel.sessions.delete(known);
      known.configure(config, tunnel);
    }
    this.sessions.set(config.key, session);
    tunnel.sessions.add(session);
    const loser = tunnel.endpoint.giveTo(session);
    if (loser !== undefined && loser !== session) this.#ports.settleSession(loser);
    this.#ports.settleSession(session);
  }

  /** The old one is closed before: a device has one descriptor at a time. */
  #changeDevice(
    session: PacketSession,
    config: Session,
    tunnel: Tunnel,
    place: DevicePlace | null,
  ): void {
    this.loseDevice(session);
    if (place === null) return;
    const device = this.#ports.openDevice(session, config, tunnel, place);
    this.#ports.startDevice(session, device);
    session.device = device;
    if (!session.hasCarrier) this.#ports.setCarrier(device, false);
  }

  #deleteSession(key: string): void {
    const session = this.sessions.get(key);
    if (session === undefined) return;
    this.#path.receiver.release(session);
    this.#stopReceiving(session);
    session.tunnel.sessions.delete(session);
    this.sessions.delete(key);
    this.loseDevice(session);
    this.#ports.forgetSession(session);
  }

  /** Unless another session has taken the id over already. */
  #stopReceiving(session: PacketSession): void {
    session.tunnel.endpoint.takeFrom(session);
  }

  #endpointFor(config: Tunnel): LocalEndpoint {
    const key = LocalEndpoint.keyOf(config);
    const known = this.endpoints.get(key);
    if (known !== undefined) return known;
    const endpoint = new LocalEndpoint(key, config, this.#ports.openSocket(config));
    this.#ports.startEndpoint(endpoint);
    this.endpoints.set(key, endpoint);
    return endpoint;
  }

  /** Fits the socket to the tunnels on it, or closes it behind the last of them. */
  #settleEndpoint(endpoint: LocalEndpoint): void {
    if (endpoint.users === 0) {
      this.#ports.stopEndpoint(endpoint);
      this.endpoints.delete(endpoint.key);
      return;
    }
    if (!endpoint.overUdp) return;
    let zeroChecksum = false;
    for (const { endpoint: other, config } of this.tunnels.values()) {
      if (other === endpoint && !config.udpChecksum) zeroChecksum = true;
    }
    this.#ports.allowZeroChecksum(endpoint.socket, zeroChecksum);
  }
}
