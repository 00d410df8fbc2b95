/** Paths over IPv6 that narrow, of tunnels over IP protocol 115. */
import { SystemError } from "../linux/errno.ts";
import { closeFd } from "../linux/fd.ts";
import { openPathMtuSocket } from "../linux/path-mtu-socket.ts";
import type { Tunnel } from "../model/model.ts";
import { IPPROTO_L2TP } from "./tunnel-socket.ts";

/**
 * Has the kernel heed a "packet too big" about datagrams of IP protocol 115. By itself it does not, and datagrams above the
 * MTU of a path would be lost for good instead of fragmented: its own L2TP has no handler for ICMPv6 errors
 * (net/l2tp/l2tp_ip6.c), and a raw socket that is not connected ignores them (net/ipv6/raw.c, rawv6_err).
 */
export class PathMtus {
  #fd: number | null = null;

  /** Opens the socket if the tunnel needs it. It stays open: later tunnels will need it. */
  serve({ encapsulation, local }: Pick<Tunnel, "encapsulation" | "local">): void {
    if (this.#fd !== null || encapsulation !== "IP" || !local.address.includes(":")) return;
    try {
      this.#fd = openPathMtuSocket(IPPROTO_L2TP);
    } catch (error) {
      // Without it frames cross all the same, as long as no path narrows: it is tried again.
      if (!(error instanceof SystemError)) throw error;
    }
  }

  close(): void {
    if (this.#fd !== null) closeFd(this.#fd);
    this.#fd = null;
  }
}
