/** The kernel datapath of the test's own namespace, without an agent. */
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

/** What host a of the net is to have towards host b: and the same mirrored, for the far end. */
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

  /** All that is ours, by the names of tunnels and keys of sessions that the kernel cannot know. */
  list(tunnel?: Tunnel, session?: Session) {
    return this.datapath.list({
      sessions: new Map(session === undefined ? [] : [[session.sessionId, session.key]]),
      tunnelName: (id) => (id === tunnel?.tunnelId ? tunnel.name : undefined),
    });
  }

  /** Codes of the errors, by change: null where it worked. */
  async apply(...changes: readonly Change[]): Promise<(string | null)[]> {
    const replies = await this.datapath.apply(changes);
    return replies.map((reply) => ("error" in reply ? reply.error.code : null));
  }

  put(tunnel: Tunnel, session: Session): Promise<(string | null)[]> {
    return this.apply({ op: "putTunnel", tunnel }, putSession(session));
  }

  /** Sets the device of a session up. Returns its name and MTU. */
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
 * No frame crosses but the test's: new devices get no IPv6 of their own. Returns how to undo that, for the
 * initial namespace outlives the test.
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
