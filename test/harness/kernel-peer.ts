/** A peer in the kernel, created by ip-l2tp(8). */
import { type Host, ip, link } from "./net.ts";

export interface KernelPeer {
  readonly encapsulation?: "UDP" | "IP";
  readonly ipVersion?: 4 | 6;
  readonly tunnelId?: number;
  readonly peerTunnelId?: number;
  readonly port?: number;
  readonly remotePort?: number;
  readonly sessionId?: number;
  readonly peerSessionId?: number;
  /** The cookies that the peer sends and requires: hexadecimal digits. */
  readonly txCookie?: string;
  readonly rxCookie?: string;
  readonly sublayer?: "default" | "none";
  readonly sequencing?: "none" | "send" | "recv" | "both";
  readonly udpChecksum?: boolean;
  readonly name?: string;
  /** The address of the peer's device: "10.1.0.2/24". */
  readonly address?: string;
}

export async function addKernelTunnel(at: Host, remote: Host, peer: KernelPeer): Promise<void> {
  const isIpv4 = (peer.ipVersion ?? 4) === 4;
  const overUdp = (peer.encapsulation ?? "UDP") === "UDP";
  const checksum = (peer.udpChecksum ?? true) ? "on" : "off";
  const udp = [
    ...["udp_sport", String(peer.port ?? 5000), "udp_dport", String(peer.remotePort ?? 5000)],
    ...(isIpv4 ? ["udp_csum", checksum] : ["udp6_csum_tx", checksum, "udp6_csum_rx", checksum]),
  ];
  await ip(
    at.name,
    ...["l2tp", "add", "tunnel", "tunnel_id", String(peer.tunnelId ?? 1)],
    ...["peer_tunnel_id", String(peer.peerTunnelId ?? 1)],
    ...["encap", overUdp ? "udp" : "ip"],
    ...["local", isIpv4 ? at.ipv4 : at.ipv6, "remote", isIpv4 ? remote.ipv4 : remote.ipv6],
    ...(overUdp ? udp : []),
  );
}

export async function addKernelSession(at: Host, peer: KernelPeer): Promise<void> {
  const name = peer.name ?? "peer0";
  await ip(
    at.name,
    ...["l2tp", "add", "session", "tunnel_id", String(peer.tunnelId ?? 1)],
    ...["session_id", String(peer.sessionId ?? 128)],
    ...["peer_session_id", String(peer.peerSessionId ?? 128)],
    ...(peer.txCookie ? ["cookie", peer.txCookie] : []),
    ...(peer.rxCookie ? ["peer_cookie", peer.rxCookie] : []),
    ...["l2spec_type", peer.sublayer ?? "default"],
    ...(peer.sequencing && peer.sequencing !== "none" ? ["seq", peer.sequencing] : []),
    ...["name", name],
  );
  if (peer.address !== undefined) await ip(at.name, "addr", "add", peer.address, "dev", name);
  await ip(at.name, "link", "set", name, "up");
}

/** Creates a tunnel with one session. */
export async function addKernelPeer(at: Host, remote: Host, peer: KernelPeer = {}): Promise<void> {
  await addKernelTunnel(at, remote, peer);
  await addKernelSession(at, peer);
  if ((await link(at.name, peer.name ?? "peer0")) === undefined)
    throw new Error("the peer's device does not exist");
}
