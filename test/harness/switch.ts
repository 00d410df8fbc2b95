/** A host in the middle of two others, with a pseudowire to each: objects for a switch. */
import type { SessionSpec, TunnelSpec } from "../../operator/api/types.ts";
import type { Host, TestNet } from "./net.ts";
import { managedTunnel, sessionObject, tunnelObject } from "./objects.ts";
import { type Family, PORT } from "./tunnel-by.ts";
import { COOKIES, type Variant } from "./variants.ts";

/** The host in the middle, as the other hosts see it. */
export interface Middle {
  /** As host b sees it. */
  readonly left: Host;
  /** As the added host sees it. */
  readonly right: Host;
}

export function middleOf(net: TestNet): Middle {
  const right = { ...net.a, ipv4: "198.51.100.1", ipv6: "2001:db8:3::1" };
  return { left: net.a, right };
}

const addressOf = ({ family }: Variant): Family => (family === 4 ? "ipv4" : "ipv6");

/** A tunnel of the variant. @param id of it at both ends */
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

/** A session of the variant that is switched to another. */
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

/** The options of QEMU's netdev at the other end. @param sessionId of the switch; QEMU's is one more */
export function qemuWire(at: Host, remote: Host, variant: Variant, sessionId: number): string {
  const { encapsulation, family, cookieBytes, sublayer } = variant;
  const address = addressOf(variant);
  const [ours, theirs] = COOKIES[cookieBytes];
  // QEMU 7.2 takes the very presence of cookie64 for "on".
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
