/** The underlay's devices, which send and receive the datagrams. The `decap` program is attached to their ingress. */

import { attachIngress } from "../../../linux/bpf.ts";
import { closeFd } from "../../../linux/fd.ts";
import type { NetlinkSocket } from "../../../linux/netlink/socket.ts";
import type { Tunnel } from "../../../model/model.ts";
import { formatEndpoint } from "../../../net/ip.ts";
import { findPath, readNetwork, type TunnelPath } from "../../../underlay/index.ts";

type Ends = Pick<Tunnel, "local" | "remote" | "device">;

export class EgressDevices {
  readonly #socket: NetlinkSocket;
  readonly #program: number;
  readonly #log: (line: string) => void;
  #network: ReturnType<typeof readNetwork>;
  /** Paths by a tunnel's endpoints; null: the programs cannot use the path. */
  readonly #routes = new Map<string, TunnelPath | null>();
  /** Descriptors of the attached programs, by device index; null: the program cannot be attached. */
  readonly #attached = new Map<number, number | null>();

  /** @param program the program for received datagrams */
  constructor(socket: NetlinkSocket, program: number, log: (line: string) => void) {
    this.#socket = socket;
    this.#program = program;
    this.#log = log;
    this.#network = readNetwork(socket);
  }

  /** Returns the path to the remote; null: the programs cannot use it. */
  nextHop({ local, remote, device }: Ends): TunnelPath | null {
    const key = `${formatEndpoint(local)} ${formatEndpoint(remote)} ${device?.index ?? ""}`;
    const known = this.#routes.get(key);
    if (known !== undefined) return known;
    const found = this.#find(local.address, remote.address, device?.index);
    this.#routes.set(key, found);
    return found;
  }

  /** Reads all again after links or routes have changed. @param links the indices of all existing links */
  forget(links: ReadonlySet<number>): void {
    this.#routes.clear();
    this.#network = readNetwork(this.#socket);
    for (const [ifindex, hold] of this.#attached) {
      if (links.has(ifindex)) continue;
      if (hold !== null) closeFd(hold);
      this.#attached.delete(ifindex);
    }
  }

  #find(local: string, remote: string, device?: number): TunnelPath | null {
    try {
      const path = findPath(this.#network, remote, local, device);
      return path.isPlainEthernet && this.#attach(path.egress) ? path : null;
    } catch {
      // The process reports the error when it sends.
      return null;
    }
  }

  /** Attaches the program to the device. Returns true if it is attached. */
  #attach(ifindex: number): boolean {
    const known = this.#attached.get(ifindex);
    if (known !== undefined) return known !== null;
    try {
      this.#attached.set(ifindex, attachIngress(this.#program, ifindex));
      return true;
    } catch (error) {
      const name = this.#network.link(ifindex)?.name ?? `device ${ifindex}`;
      this.#log(`fast path unavailable on ${name}: ${(error as Error).message}`);
      this.#attached.set(ifindex, null);
      return false;
    }
  }
}
