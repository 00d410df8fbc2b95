/** Keyed IPv6 tunnels between two hosts: their objects, and a peer without an L2TP implementation. */

import { closeFd } from "../../linux/fd.ts";
import { inNetns } from "../../linux/netns.ts";
import { encodeSockaddr, openDatagramSocket, sendTo } from "../../linux/socket.ts";
import type { SessionSpec, TunnelSpec } from "../../operator/api/types.ts";
import { type Host, ip } from "./net.ts";
import { sessionObject } from "./objects.ts";

export const PREFIX = "2001:db8:77::/64";
export const ALL_ONES = 0xffff_ffff;
export const COOKIES = {
  receive: { value: "1111111122222222" },
  transmit: { value: "3333333344444444" },
} as const;
const L2TP_PROTOCOL = 115;

/** Returns a circuit's address in `PREFIX`. */
export const circuitAddress = (index: number): string => `2001:db8:77::${(index + 1).toString(16)}`;

export function keyedTunnel(
  name: string,
  nodeName: string,
  ends: Pick<TunnelSpec, "local" | "remote">,
  more: Partial<TunnelSpec> = {},
): object {
  return {
    apiVersion: "l2tp.dev/v1alpha1",
    kind: "L2tpTunnel",
    metadata: { name },
    spec: { nodeName, encapsulation: "IP", keyed: true, ...ends, ...more },
  };
}

/** Returns a session with the ID that all sessions share. */
export function keyedSession(name: string, more: Partial<SessionSpec> = {}): object {
  return sessionObject(name, name, {
    ...{ sessionId: ALL_ONES, peerSessionId: ALL_ONES, l2SpecificSublayer: "None" },
    ...{ cookies: COOKIES, ...more },
  });
}

/** Routes the prefix from one host to another, as a network would. */
export async function routePrefix(from: Host, to: Host, prefix = PREFIX): Promise<void> {
  await ip(from.name, "-6", "route", "add", prefix, "via", to.ipv6);
}

/** A peer that sends single data messages by a raw socket. */
export class KeyedPeer {
  readonly #fd: number;

  constructor({ netns, ipv6 }: Host, address = ipv6) {
    this.#fd = inNetns(netns, () => openDatagramSocket(L2TP_PROTOCOL, { address, port: 0 }));
  }

  /** Sends one frame, by default with our receive cookie. */
  send(to: string, cookie: string = COOKIES.receive.value, sessionId = "ffffffff"): void {
    const frame = `ffffffffffff02000000000188b5${"00".repeat(46)}`;
    const bytes = Buffer.from(`${sessionId}${cookie}${frame}`, "hex");
    if (!sendTo(this.#fd, bytes, encodeSockaddr({ address: to, port: 0 }))) {
      throw new Error(`cannot send to ${to}`);
    }
  }

  close(): void {
    closeFd(this.#fd);
  }
}
