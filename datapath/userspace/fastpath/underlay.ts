/** By which devices datagrams leave and arrive; the latter pass through a program there. */

import { attachIngress } from "../../../linux/bpf.ts";
import { closeFd } from "../../../linux/fd.ts";
import { getLink } from "../../../linux/netlink/link.ts";
import { lookUpRoute } from "../../../linux/netlink/route.ts";
import type { NetlinkSocket } from "../../../linux/netlink/socket.ts";
import type { Tunnel } from "../../../model/model.ts";
import { formatEndpoint } from "../../../net/ip.ts";

export interface Egress {
  readonly ifindex: number;
  /** Of the path: the largest IP packet. */
  readonly mtu: number;
}

type Ends = Pick<Tunnel, "local" | "remote">;

export class Underlay {
  readonly #socket: NetlinkSocket;
  readonly #program: number;
  readonly #log: (line: string) => void;
  /** By the ends of a tunnel; null: no Ethernet device leads there. */
  readonly #ways = new Map<string, Egress | null>();
  /** By the index of a device: what holds the program there; null: it takes none. */
  readonly #places = new Map<number, number | null>();

  /** @param program for what arrives */
  constructor(socket: NetlinkSocket, program: number, log: (line: string) => void) {
    this.#socket = socket;
    this.#program = program;
    this.#log = log;
  }

  /** By which device datagrams to the remote leave; null where programs cannot send them. */
  egress({ local, remote }: Ends): Egress | null {
    const key = `${formatEndpoint(local)} ${formatEndpoint(remote)}`;
    const known = this.#ways.get(key);
    if (known !== undefined) return known;
    const found = this.#find(local.address, remote.address);
    this.#ways.set(key, found);
    return found;
  }

  /** Links or routes have changed: all is asked anew. @param links that there are, by their indices */
  forget(links: ReadonlySet<number>): void {
    this.#ways.clear();
    for (const [ifindex, place] of this.#places) {
      if (links.has(ifindex)) continue;
      if (place !== null) closeFd(place);
      this.#places.delete(ifindex);
    }
  }

  #find(local: string, remote: string): Egress | null {
    try {
      const route = lookUpRoute(this.#socket, remote, local);
      const link = getLink(this.#socket, route.link);
      if (link?.isEthernet !== true || !link.up || !this.#place(route.link, link.name)) return null;
      return { ifindex: route.link, mtu: Math.min(route.mtu ?? link.mtu, link.mtu) };
    } catch {
      // The process says why when it sends.
      return null;
    }
  }

  /** Whether what arrives at the device passes through the program. */
  #place(ifindex: number, name: string): boolean {
    const known = this.#places.get(ifindex);
    if (known !== undefined) return known !== null;
    try {
      this.#places.set(ifindex, attachIngress(this.#program, ifindex));
      return true;
    } catch (error) {
      this.#log(`no fast path by ${name}: ${(error as Error).message}`);
      this.#places.set(ifindex, null);
      return false;
    }
  }
}
