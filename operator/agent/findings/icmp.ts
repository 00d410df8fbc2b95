/** Findings about the underlay's answers to a tunnel's datagrams: ICMP errors and bad checksums. Pure. */
import type { Listing, TunnelState } from "../../../datapath/datapath.ts";
import type { IcmpError, Unreachable } from "../../../linux/icmp.ts";
import type { SessionCounters, Tunnel } from "../../../model/model.ts";
import type { Finding } from "../../agent-protocol.ts";
import { ACCEPT_ZERO_CHECKSUMS, sendsZeroChecksums } from "../../resolve/peer-needs.ts";

/** Observed between the two snapshots of the counters. */
export interface UnderlaySeen {
  readonly icmpErrors: readonly IcmpError[];
  /** UDP datagrams over IPv6 that the node dropped for a missing or wrong checksum. */
  readonly checksumErrors: number;
}

type Said = Omit<Finding, "object">;

/** A tunnel, and the numbers of frames that its sessions received and sent. */
interface Case {
  readonly state: TunnelState;
  readonly received: number;
  readonly sent: number;
}

const IPPROTO_UDP = 17;
const IPPROTO_L2TP = 115;

/** Reports tunnels whose datagrams were answered by ICMP errors, or dropped for their checksum. */
export function underlayFindings(before: Listing, after: Listing, seen: UnderlaySeen): Finding[] {
  const sessions = Map.groupBy(after.sessions, ({ session }) => session.tunnel);
  const earlier = new Map(before.sessions.map(({ session, counters }) => [session.key, counters]));
  const grown = (name: string, counter: keyof SessionCounters) =>
    (sessions.get(name) ?? []).reduce(
      (sum, { session: { key }, counters }) =>
        sum + counters[counter] - (earlier.get(key)?.[counter] ?? 0),
      0,
    );
  return after.tunnels.flatMap((state) => {
    const { name } = state.tunnel;
    const of = { state, received: grown(name, "rxPackets"), sent: grown(name, "txPackets") };
    const said = [...unreachable(state, seen.icmpErrors), ...checksums(of, seen.checksumErrors)];
    return said.map((item) => ({ object: `L2tpTunnel ${name}`, ...item }));
  });
}

function unreachable(state: TunnelState, errors: readonly IcmpError[]): Said[] {
  const about = errors.filter((error) => isAbout(state, error));
  const groups = Map.groupBy(about, ({ what, destination }) => `${what} ${destination}`);
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    return first === undefined ? [] : [EXPLAIN[first.what](first, group.length)];
  });
}

/** True if the error answers a datagram of the tunnel. */
function isAbout({ tunnel, control }: TunnelState, error: IcmpError): boolean {
  const { encapsulation, local, remote } = tunnel;
  const remotes = [remote, control?.remote, ...(control?.paths ?? []).map((path) => path.remote)];
  const isFromSocket =
    encapsulation === "UDP"
      ? error.protocol === IPPROTO_UDP && error.sourcePort === local.port
      : error.protocol === IPPROTO_L2TP;
  const isBetween =
    error.source === local.address && remotes.some((each) => each?.address === error.destination);
  return isFromSocket && isBetween;
}

const EXPLAIN: Readonly<Record<Unreachable, (error: IcmpError, count: number) => Said>> = {
  port: ({ destination, destinationPort }, count) => ({
    severity: "error",
    finding: `${destination} answered ${times(count)} "port unreachable": it does not listen on UDP port ${destinationPort}`,
    remedy:
      "start the tunnel at the peer, or compare spec.remote.port with the peer's port; the peer's firewall can also answer this",
  }),
  protocol: ({ destination, protocol }, count) => ({
    severity: "error",
    finding: `${destination} answered ${times(count)} "protocol unreachable": it does not accept IP protocol ${protocol}`,
    remedy:
      "start L2TPv3 over IP at the peer (Linux: modprobe l2tp_ip, or l2tp_ip6), or use encapsulation: UDP at both ends",
  }),
  prohibited: ({ destination }, count) => ({
    severity: "error",
    finding: `a firewall on the path to ${destination} rejected the tunnel's datagrams (${times(count)})`,
    remedy: "allow the tunnel's protocol and ports in that firewall",
  }),
  host: ({ destination }, count) => ({
    severity: "error",
    finding: `${destination} was reported unreachable ${times(count)}: no host on its network has this address`,
    remedy: "check the peer's link, and spec.remote.address",
  }),
  network: ({ destination }, count) => ({
    severity: "error",
    finding: `a router has no route to ${destination} (${times(count)})`,
    remedy: "check the routes between the node and the peer",
  }),
};

const times = (count: number): string => (count === 1 ? "once" : `${count} times`);

/** A receiver drops datagrams without a checksum silently (RFC 8200, section 8.1). */
function checksums({ state: { tunnel, control }, received, sent }: Case, dropped: number): Said[] {
  const isDown = control !== undefined && control.state !== "established";
  if (received > 0 && !isDown) return [];
  if (sendsZeroChecksums(tunnel) && (sent > 0 || isDown)) {
    return [
      {
        severity: "warning",
        finding: `sends datagrams without a UDP checksum, and receives nothing: over IPv6 ${ACCEPT_ZERO_CHECKSUMS}`,
        remedy: "set that at the peer, or spec.udpChecksum: true at both ends",
      },
    ];
  }
  if (dropped === 0 || !wantsChecksums(tunnel)) return [];
  return [
    {
      severity: "error",
      finding: `receives nothing, and the node dropped ${dropped} UDP datagrams over IPv6 for a missing or wrong checksum`,
      remedy:
        "if the peer sends no checksums, set spec.udpChecksum: false, or enable them at the peer (Linux: ip l2tp … udp6_csum_tx on)",
    },
  ];
}

function wantsChecksums({ encapsulation, udpChecksum, remote }: Tunnel): boolean {
  return encapsulation === "UDP" && udpChecksum && remote.address.includes(":");
}
