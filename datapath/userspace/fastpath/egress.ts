/** The devices by which datagrams leave and arrive. Those that arrive pass through a program there. */

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
  /** Paths by the ends of a tunnel; null: programs cannot send there. */
  readonly #routes = new Map<string, TunnelPath | null>();
  /** Descriptors that hold the program at a device, by its index; null: it takes none. */
  readonly #attached = new Map<number, number | null>();

  /** @param program for what arrives */
  constructor(socket: NetlinkSocket, program: number, log: (line: string) => void) {
    this.#socket = socket;
    this.#program = program;
    this.#log = log;
    this.#network = readNetwork(socket);
  }

  /** The path to the remote; null: programs cannot send there. */
  nextHop({ local, remote, device }: Ends): TunnelPath | null {
    const key = `${formatEndpoint(local)} ${formatEndpoint(remote)} ${device?.index ?? ""}`;
    const known = this.#routes.get(key);
    if (known !== undefined) return known;
    const found = this.#find(local.address, remote.address, device?.index);
    this.#routes.set(key, found);
    return found;
  }

  /** Links or routes have changed: all are read again. @param links that there are, by their indices */
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
      // The process says why when it sends.
      return null;
    }
  }

  /** True if datagrams that arrive at the device pass through the program. */
  #attach(ifindex: number): boolean {
    const known = this.#attached.get(ifindex);
    if (known !== undefined) return known !== null;
    try {
      this.#attached.set(ifindex, attachIngress(this.#program, ifindex));
      return true;
    } catch (error) {
      const name = this.#network.link(ifindex)?.name ?? `device ${ifindex}`;
      this.#log(`no fast path by ${name}: ${(error as Error).message}`);
      this.#attached.set(ifindex, null);
      return false;
    }
  }
}
