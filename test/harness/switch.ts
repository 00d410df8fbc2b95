/** Objects for a switch: a host in the middle, with a pseudowire to each of two others. */
import type { SessionSpec, TunnelSpec } from "../../operator/api/types.ts";
import type { Host, TestNet } from "./net.ts";
import { managedTunnel, sessionObject, tunnelObject } from "./objects.ts";
import { type Family, PORT } from "./tunnel-by.ts";
import { COOKIES, type Variant } from "./variants.ts";

/** The host in the middle, with its addresses on both wires. */
export interface Middle {
  /** With its addresses on the wire to host b. */
  readonly left: Host;
  /** With its addresses on the wire to the added host. */
  readonly right: Host;
}

export function middleOf(net: TestNet): Middle {
  const right = { ...net.a, ipv4: "198.51.100.1", ipv6: "2001:db8:3::1" };
  return { left: net.a, right };
}

const addressOf = ({ family }: Variant): Family => (family === 4 ? "ipv4" : "ipv6");

/** Returns a tunnel of the variant. @param id its ID on both hosts */
export function variantTunnel(
  name: string,
  at: Host,
  remote: Host,
  variant: Variant,
  id: number,
  change: Partial<TunnelSpec> = {},
): object {
  const address = addressOf(variant);
  const port = variant.encapsulation === "UDP" ? { port: PORT } : {};
  return tunnelObject(name, at, remote, {
    encapsulation: variant.encapsulation,
    ...{ tunnelId: id, peerTunnelId: id },
    local: { address: at[address], ...port },
    remote: { address: remote[address], ...port },
    ...change,
  });
}

/** Returns a session of the variant that is switched to another session. */
export function switchedSession(
  name: string,
  tunnel: string,
  to: string,
  { cookieBytes, sublayer }: Variant,
  change: Partial<SessionSpec> = {},
): object {
  const [receive, transmit] = COOKIES[cookieBytes];
  const cookies =
    cookieBytes === 0
      ? {}
      : { cookies: { receive: { value: receive }, transmit: { value: transmit } } };
  return sessionObject(name, tunnel, {
    l2SpecificSublayer: sublayer,
    ...cookies,
    ...switchTo(to),
    ...change,
  });
}

export function switchTo(name: string, more: object = {}): Pick<SessionSpec, "attachment"> {
  return { attachment: { mode: "Switch", switchTo: { name }, ...more } };
}

/** Returns the options of the peer's QEMU netdev. @param sessionId the switch's; that of QEMU is one more */
export function qemuWire(at: Host, remote: Host, variant: Variant, sessionId: number): string {
  const { encapsulation, family, cookieBytes, sublayer } = variant;
  const address = addressOf(variant);
  const [ours, theirs] = COOKIES[cookieBytes];
  // QEMU 7.2 treats any cookie64 option as "on".
  const width = cookieBytes === 8 ? ["cookie64=on"] : [];
  return [
    `src=${at[address]},dst=${remote[address]}`,
    `ipv6=${family === 6 ? "on" : "off"}`,
    `rxsession=${sessionId + 1},txsession=${sessionId}`,
    sublayer === "Default" ? "counter=on,pincounter=on" : "counter=off",
    ...(encapsulation === "UDP" ? [`udp=on,srcport=${PORT},dstport=${PORT}`] : ["udp=off"]),
    ...(cookieBytes === 0 ? [] : [...width, `txcookie=0x${ours}`, `rxcookie=0x${theirs}`]),
  ].join(",");
}

export function managedBy(name: string, at: Host, remote: Host, more: object = {}): object {
  const control = { hello: { interval: "1s", deadAfter: "3s" } };
  return managedTunnel(name, at, remote, control, { local: { address: at.ipv4 }, ...more });
}
