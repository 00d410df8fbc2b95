/** The tunnels and sessions of the process, and their changes. `Ports` opens sockets and devices. */
import type { Session, Tunnel } from "../../../model/model.ts";
import { pseudowireOf } from "../../../model/pseudowires/index.ts";
import type { Change, DevicePlace } from "../../datapath.ts";
import type { DatapathErrorCode } from "../../failure.ts";
import type { BypassedFrames } from "./bypass.ts";
import type { PacketPath } from "./packet-path.ts";
import type { DatagramSocket, FrameDevice } from "./ports.ts";
import { LocalEndpoint, PacketSession, PacketTunnel } from "./session.ts";
import { joinSessions, separate } from "./switch.ts";

/** The operating system, as the table uses it. An open that fails throws, and has changed nothing. */
export interface Ports {
  openSocket(tunnel: Tunnel): DatagramSocket;
  /** Starts to read the endpoint's datagrams. Closes its socket on failure. */
  startEndpoint(endpoint: LocalEndpoint): void;
  stopEndpoint(endpoint: LocalEndpoint): void;
  /** Sets whether the socket accepts datagrams without a checksum (IPv6). */
  allowZeroChecksum(socket: DatagramSocket, allowed: boolean): void;
  /** Makes the socket report the traffic class of received packets. */
  reportTrafficClass(socket: DatagramSocket): void;
  /** @param session the device's session, still in its old state @param config its new state, in `tunnel` */
  openDevice(
    session: PacketSession,
    config: Session,
    tunnel: Tunnel,
    place: DevicePlace,
  ): FrameDevice;
  /** Starts to read the device's frames. Closes the device on failure. */
  startDevice(session: PacketSession, device: FrameDevice): void;
  /** Sets the carrier of the device. */
  setCarrier(device: FrameDevice, on: boolean): void;
  /** Closes the device without deleting it. */
  stopDevice(device: FrameDevice): void;
  /** Closes the device, and deletes it, also after it was moved. */
  deleteDevice(device: FrameDevice): void;
  /** The session, its tunnel or its device has changed. */
  settleSession(session: PacketSession): void;
  /** The session was deleted. */
  forgetSession(session: PacketSession): void;
  /** Returns the session's frames that bypassed the process; null: it never had a bypassing device. */
  bypassedFrames(session: PacketSession): BypassedFrames | null;
}

/** A change that is impossible in the current state. */
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

  /**
   * @throws SystemError, ChangeError, UnknownPseudowireError; nothing has changed then, except that a device may be
   * closed
   */
  apply(change: Change): void {
    // Queued datagrams are encoded for the old configuration.
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

  /** Returns when the last frame was received, in or past the process, by the loop's clock; −1: none yet. */
  lastHeardMs(session: PacketSession, now: number): number {
    const { lastReceivedMs } = session;
    const msAgo = this.bypassedFrames(session)?.lastReceivedMsAgo ?? null;
    return msAgo === null ? lastReceivedMs : Math.max(lastReceivedMs, now - msAgo);
  }

  /** Shows the state of the peer's circuit as the carrier of the session's device. */
  setCarrier(key: string, on: boolean): void {
    const session = this.sessions.get(key);
    if (session === undefined || session.hasCarrier === on) return;
    session.hasCarrier = on;
    if (session.device === null) return;
    this.#ports.setCarrier(session.device, on);
    this.#ports.settleSession(session);
  }

  /** Closes a device that failed: it, or its namespace, was deleted. */
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
    if (config.ecn) this.#readTrafficClass(endpoint);
    if (tunnel === undefined) {
      this.tunnels.set(config.name, new PacketTunnel(config, endpoint));
      endpoint.users++;
    } else {
      const moves = endpoint !== tunnel.endpoint;
      // A keyed tunnel's session is found by the tunnel's addresses.
      const isOther = moves || tunnel.pair !== null || config.keyed === true;
      if (isOther) for (const session of tunnel.sessions) this.#stopReceiving(session);
      if (moves) {
        endpoint.users++;
        tunnel.endpoint.users--;
      }
      tunnel.configure(config, endpoint);
      for (const session of tunnel.sessions) {
        session.configure(session.config, tunnel);
        if (isOther) endpoint.assign(session);
        this.#ports.settleSession(session);
      }
    }
    this.#settleEndpoint(endpoint);
    if (before !== undefined && before !== endpoint) this.#settleEndpoint(before);
  }

  #readTrafficClass(endpoint: LocalEndpoint): void {
    if (endpoint.readsTrafficClass) return;
    this.#ports.reportTrafficClass(endpoint.socket);
    endpoint.readsTrafficClass = true;
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
    // Throws for a type of a newer agent before anything changes.
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
    joinSessions(session, this.sessions.get(config.switchTo ?? ""));
    tunnel.sessions.add(session);
    const loser = tunnel.endpoint.assign(session);
    if (loser !== undefined && loser !== session) this.#ports.settleSession(loser);
    this.#ports.settleSession(session);
  }

  /** Opens the new device after closing the old one: a device has one descriptor at a time. */
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
    separate(session);
    this.loseDevice(session);
    this.#ports.forgetSession(session);
  }

  /** Removes the session's ID, unless another session has taken it over. */
  #stopReceiving(session: PacketSession): void {
    session.tunnel.endpoint.unassign(session);
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

  /** Configures the socket for the endpoint's tunnels; closes it after the last one. */
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
