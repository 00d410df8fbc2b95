/**
 * The sockets that receive the control messages of tunnels over IP whose frames the kernel forwards. The kernel
 * delivers a control message to the socket that is bound to its control connection ID (net/l2tp/l2tp_ip.c,
 * l2tp_ip_recv):
 *
 * - The tunnel's own socket, which the kernel uses, is bound to the tunnel's ID: the ID of a quiescent connection.
 * - Each managed connection has another socket: its ID is random, and the tunnel's socket outlives the connection.
 * - The tunnels of a local address share a socket that is bound to ID 0, the ID in an SCCRQ.
 *
 * None of them receives frames. A raw socket would receive all IDs, and the kernel would copy each frame to it.
 */
import { AddressTable } from "../../../l2tp/control/address-table.ts";
import { isErrno } from "../../../linux/errno.ts";
import { AF_INET6, receiveFrom } from "../../../linux/socket.ts";
import { parseAddress } from "../../../net/ip.ts";
import { L2TP_SOCKADDR_BYTES, NO_CONNECTION_ID, openL2tpIpSocket } from "../../l2tp-ip-socket.ts";
import type { ControlSocket } from "../devices/control-socket.ts";
import { Account, COST } from "../packet/deficit.ts";
import type { ControlReceiver } from "../packet/receive.ts";
import type { LocalEndpoint } from "../packet/session.ts";
import type { ConnectionIds } from "../signalling/connection-ids.ts";
import type { Handler, Loop } from "./loop.ts";

/** The zero session ID in front of a control message on the wire, which the receiver expects. */
const ZERO_SESSION_ID_BYTES = 4;
/** Control messages are far shorter (lcce.ts). */
const BUFFER_BYTES = 16 * 1024;
const MESSAGES_A_TURN = 64;
/** Offset and length of the address in a sender's struct sockaddr. */
const INET = { at: 4, bytes: 4 };
const INET6 = { at: 8, bytes: 16 };

/** Returns the endpoint of a received message by the struct sockaddr of its sender. */
type Owner = (sender: Uint8Array) => LocalEndpoint | undefined;

interface Listener {
  readonly fd: number;
  /** The key is the remote of the tunnel. */
  readonly endpoints: AddressTable<LocalEndpoint>;
}

/** The sockets of one endpoint. */
interface Sockets {
  readonly held: ControlSocket;
  /** The key is the ID of the connection. */
  readonly connections: Map<number, number>;
}

export class ControlSockets implements ConnectionIds {
  readonly #loop: Loop;
  readonly #receive: ControlReceiver;
  readonly #log: (line: string) => void;
  readonly #endpoints = new Map<LocalEndpoint, Sockets>();
  /** The key is the local address. */
  readonly #listeners = new Map<string, Listener>();
  readonly #memory: { readonly bytes: Uint8Array; readonly view: DataView };
  /** The buffer after the zero octets. */
  readonly #message: Uint8Array;
  readonly #sender = new Uint8Array(L2TP_SOCKADDR_BYTES);

  constructor(loop: Loop, receive: ControlReceiver, log: (line: string) => void) {
    const bytes = new Uint8Array(BUFFER_BYTES);
    this.#loop = loop;
    this.#receive = receive;
    this.#log = log;
    this.#memory = { bytes, view: new DataView(bytes.buffer) };
    this.#message = bytes.subarray(ZERO_SESSION_ID_BYTES);
  }

  /**
   * @throws SystemError EADDRINUSE: another program receives the address's SCCRQs. Closes the endpoint's socket then
   */
  start(endpoint: LocalEndpoint, held: ControlSocket): void {
    this.#watch(held.fd, () => endpoint);
    try {
      this.#listenerAt(held.local).endpoints.set(bytesOf(held.remote), endpoint);
    } catch (error) {
      this.#loop.unwatchAndClose(held.fd);
      throw error;
    }
    this.#endpoints.set(endpoint, { held, connections: new Map() });
  }

  stop(endpoint: LocalEndpoint): void {
    const known = this.#endpoints.get(endpoint);
    if (known === undefined) return;
    this.#endpoints.delete(endpoint);
    const { held, connections } = known;
    for (const fd of [held.fd, ...connections.values()]) this.#loop.unwatchAndClose(fd);
    const listener = this.#listeners.get(held.local);
    listener?.endpoints.delete(bytesOf(held.remote));
    if (listener === undefined || listener.endpoints.size > 0) return;
    this.#listeners.delete(held.local);
    this.#loop.unwatchAndClose(listener.fd);
  }

  take(endpoint: LocalEndpoint, connectionId: number): boolean {
    const known = this.#endpoints.get(endpoint);
    if (known === undefined) return true;
    const { local, remote } = known.held;
    try {
      const fd = openL2tpIpSocket(local, connectionId, remote);
      this.#watch(fd, () => endpoint);
      known.connections.set(connectionId, fd);
    } catch (error) {
      if (isErrno(error, "EADDRINUSE")) return false;
      // Without a socket the connection times out, and another one is started.
      this.#log(`cannot receive control messages from ${remote}: ${(error as Error).message}`);
    }
    return true;
  }

  release(endpoint: LocalEndpoint, connectionId: number): void {
    const connections = this.#endpoints.get(endpoint)?.connections;
    const fd = connections?.get(connectionId);
    if (fd === undefined) return;
    connections?.delete(connectionId);
    this.#loop.unwatchAndClose(fd);
  }

  #listenerAt(local: string): Listener {
    const known = this.#listeners.get(local);
    if (known !== undefined) return known;
    const fd = openL2tpIpSocket(local, NO_CONNECTION_ID, null);
    const endpoints = new AddressTable<LocalEndpoint>();
    this.#watch(fd, (sender) => {
      const { at, bytes } = sender[0] === AF_INET6 ? INET6 : INET;
      return endpoints.find(sender, at, bytes);
    });
    const listener = { fd, endpoints };
    this.#listeners.set(local, listener);
    return listener;
  }

  #watch(fd: number, owner: Owner): void {
    const account = new Account();
    const ready = (now: number) => this.#read(fd, owner, account, now);
    const handler: Handler = { queues: false, account, ready };
    this.#loop.watchOrClose(fd, handler);
  }

  #read(fd: number, owner: Owner, account: Account, now: number): void {
    for (let count = 0; count < MESSAGES_A_TURN && account.isOpen; count++) {
      const length = receiveFrom(fd, this.#message, this.#sender);
      if (length < 0) return;
      account.spend(length + COST.crossing);
      const endpoint = owner(this.#sender);
      if (endpoint !== undefined) this.#hand(endpoint, length, now);
    }
  }

  #hand(endpoint: LocalEndpoint, length: number, now: number): void {
    const { counters } = endpoint;
    counters.rxPackets++;
    if (length > this.#message.length) {
      counters.rxTruncated++;
      return;
    }
    const end = ZERO_SESSION_ID_BYTES + length;
    const isTaken = this.#receive(endpoint, this.#sender, this.#memory, 0, end, now);
    if (!isTaken) counters.rxControl++;
  }
}

function bytesOf(address: string): Uint8Array {
  return parseAddress(address) ?? new Uint8Array();
}
