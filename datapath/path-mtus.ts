/** Path MTU discovery for tunnels over IP protocol 115 and IPv6. */
import { SystemError } from "../linux/errno.ts";
import { closeFd } from "../linux/fd.ts";
import { openPathMtuSocket } from "../linux/path-mtu-socket.ts";
import type { Tunnel } from "../model/model.ts";
import { IPPROTO_L2TP } from "./tunnel-socket.ts";

/**
 * Makes the kernel apply "packet too big" messages about datagrams of IP protocol 115. Without this, datagrams above
 * the path MTU are lost instead of fragmented: the kernel's L2TP has no handler for ICMPv6 errors
 * (net/l2tp/l2tp_ip6.c), and an unconnected raw socket ignores them (net/ipv6/raw.c, rawv6_err).
 */
export class PathMtus {
  #fd: number | null = null;

  /** Opens the socket if the tunnel needs it. It stays open for later tunnels. */
  serve({ encapsulation, local }: Pick<Tunnel, "encapsulation" | "local">): void {
    if (this.#fd !== null || encapsulation !== "IP" || !local.address.includes(":")) return;
    try {
      this.#fd = openPathMtuSocket(IPPROTO_L2TP);
    } catch (error) {
      // Frames pass without it unless a path MTU decreases. The next call retries.
      if (!(error instanceof SystemError)) throw error;
    }
  }

  close(): void {
    if (this.#fd !== null) closeFd(this.#fd);
    this.#fd = null;
  }
}
