/** The kernel datapath of the test's own network namespace, without an agent. */
import type { Change } from "../../datapath/datapath.ts";
import { kernelDeviceName } from "../../datapath/kernel/device-name.ts";
import { KernelDatapath } from "../../datapath/kernel/kernel.ts";
import { findLink, setLink } from "../../linux/netlink/link.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../linux/netlink/socket.ts";
import type { Session, Tunnel } from "../../model/model.ts";
import { sessionMtu } from "../../model/mtu.ts";
import { session as sessionOf, tunnel as tunnelOf } from "../../model/testdata.ts";
import type { TestNet } from "./net.ts";
import { run } from "./run.ts";
import { COOKIES, type Variant } from "./variants.ts";

const UNDERLAY_MTU = 1500;

/** A tunnel and a session of host a to host b, and their mirrors for the far end. */
export function pair(
  net: TestNet,
  { encapsulation, family, cookieBytes, sublayer }: Variant,
  change: { tunnel?: Partial<Tunnel>; session?: Partial<Session> } = {},
) {
  const address = family === 4 ? "ipv4" : "ipv6";
  const [port, remotePort] = encapsulation === "UDP" ? [5000, 5001] : [0, 0];
  const [rxCookie, txCookie] = COOKIES[cookieBytes];
  const tunnel = tunnelOf({
    datapath: "Kernel",
    encapsulation,
    local: { address: net.a[address], port },
    remote: { address: net.b[address], port: remotePort },
    ...change.tunnel,
  });
  const shape = { l2SpecificSublayer: sublayer, txCookie };
  const session = sessionOf({
    ...shape,
    sessionId: 128,
    peerSessionId: 0xffff_fffe,
    rxCookie,
    mtu: sessionMtu(UNDERLAY_MTU, tunnel, shape),
    ...change.session,
  });
  return { tunnel, session, far: mirror(tunnel, session) };
}

function mirror(tunnel: Tunnel, session: Session) {
  return {
    tunnel: {
      ...tunnel,
      datapath: "Userspace" as const,
      tunnelId: tunnel.peerTunnelId,
      peerTunnelId: tunnel.tunnelId,
      local: tunnel.remote,
      remote: tunnel.local,
    },
    session: {
      ...session,
      sessionId: session.peerSessionId,
      peerSessionId: session.sessionId,
      rxCookie: session.txCookie,
      txCookie: session.rxCookie,
    },
  };
}

export class KernelNode {
  readonly datapath = new KernelDatapath();
  readonly links = new NetlinkSocket(NETLINK_ROUTE, null);

  /** Lists what l2tp-cni created. The arguments supply the names and keys, which the kernel does not store. */
  list(tunnel?: Tunnel, session?: Session) {
    return this.datapath.list({
      sessions: new Map(session === undefined ? [] : [[session.sessionId, session.key]]),
      tunnelName: (id) => (id === tunnel?.tunnelId ? tunnel.name : undefined),
    });
  }

  /** @returns an error code for each change; null: success */
  async apply(...changes: readonly Change[]): Promise<(string | null)[]> {
    const replies = await this.datapath.apply(changes);
    return replies.map((reply) => ("error" in reply ? reply.error.code : null));
  }

  put(tunnel: Tunnel, session: Session): Promise<(string | null)[]> {
    return this.apply({ op: "putTunnel", tunnel }, putSession(session));
  }

  /** Brings the session's device up. Returns its name and MTU. */
  raise(session: Session): { name: string; mtu: number } {
    const name = kernelDeviceName(session);
    const link = findLink(this.links, name);
    if (link === undefined) throw new Error(`no ${name}`);
    setLink(this.links, link.index, { addressGeneration: false });
    setLink(this.links, link.index, { up: true });
    return { name, mtu: link.mtu };
  }

  close(): void {
    this.datapath.close();
    this.links.close();
  }
}

export function putSession(session: Session, device: "keep" | "new" = "new"): Change {
  const place = { netns: null, name: kernelDeviceName(session) };
  return { op: "putSession", session, device: device === "keep" ? "keep" : place };
}

/**
 * Disables IPv6 on new devices, so that only the test's frames cross. Returns a function that undoes that, since
 * the initial namespace outlives the test.
 */
export async function quieten(...namespaces: string[]): Promise<() => Promise<void>> {
  await disableIpv6(namespaces, true);
  return () => disableIpv6(namespaces, false);
}

async function disableIpv6(namespaces: readonly string[], yes: boolean): Promise<void> {
  const setting = `net.ipv6.conf.default.disable_ipv6=${Number(yes)}`;
  for (const name of namespaces) {
    await run(["ip", "netns", "exec", name, "sysctl", "-qw", setting]);
  }
}
