/**
 * Announces a pod's addresses on its link: a gratuitous ARP (RFC 5227 §3) for each IPv4 address, and an unsolicited
 * neighbor advertisement (RFC 4861 §7.2.6) for each IPv6 address.
 */

import { checked } from "../../linux/errno.ts";
import { background, c } from "../../linux/ffi.ts";
import { findLink, type LinkInfo } from "../../linux/netlink/link.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../linux/netlink/socket.ts";
import { inNetns } from "../../linux/netns.ts";
import { ETHERNET_HEADER_BYTES, ETHERTYPE, ETHERTYPE_OFFSET } from "../../net/headers.ts";
import { parsePrefix } from "../../net/ip.ts";
import { parseMac } from "../../net/mac.ts";

const AF_PACKET = 17;
const SOCK_RAW_CLOEXEC = 3 | 0o2000000;
const SOCKADDR_LL_BYTES = 20;

/** Best effort: errors are ignored, as neighbors can also resolve the address. @param addresses "192.0.2.1/24" */
export function announce(
  netns: string,
  ifname: string,
  mac: string,
  addresses: readonly string[],
): void {
  if (addresses.length === 0) return;
  const source = parseMac(mac);
  const frames = addresses.flatMap((text) => {
    const address = parsePrefix(text)?.address;
    if (address === undefined) return [];
    return [address.length === 4 ? gratuitousArp(source, address) : advertisement(source, address)];
  });
  try {
    send(netns, ifname, frames);
  } catch {
    // The pod may have been deleted.
  }
}

function send(netns: string, ifname: string, frames: readonly Uint8Array[]): void {
  const netlink = new NetlinkSocket(NETLINK_ROUTE, netns);
  let link: LinkInfo | undefined;
  try {
    link = findLink(netlink, ifname);
  } finally {
    netlink.close();
  }
  if (link === undefined) return;
  // Protocol 0: the socket receives nothing.
  const fd = inNetns(netns, () =>
    checked(c.socket(AF_PACKET, SOCK_RAW_CLOEXEC, 0), "socket", "packet"),
  );
  try {
    const sockaddr = Buffer.alloc(SOCKADDR_LL_BYTES);
    sockaddr.writeUInt16LE(AF_PACKET, 0);
    sockaddr.writeInt32LE(link.index, 4);
    for (const frame of frames) {
      checked(c.sendto(fd, frame, frame.length, 0, sockaddr, sockaddr.length), "send", ifname);
    }
  } finally {
    // Closing a packet socket waits for an RCU grace period, which would add 15 ms to an ADD.
    void background.close(fd);
  }
}

function ethernet(destination: Uint8Array, source: Uint8Array, type: number): Buffer {
  const header = Buffer.alloc(ETHERNET_HEADER_BYTES);
  header.set(destination, 0);
  header.set(source, 6);
  header.writeUInt16BE(type, ETHERTYPE_OFFSET);
  return header;
}

/** Returns an Ethernet frame. @param mac 6 bytes @param address 4 bytes */
function gratuitousArp(mac: Uint8Array, address: Uint8Array): Buffer {
  const arp = Buffer.alloc(28);
  // Ethernet, IPv4, their lengths, and "request"; RFC 5227 §3 explains why not "reply".
  arp.set([0, 1, 0x08, 0, 6, 4, 0, 1], 0);
  arp.set(mac, 8);
  arp.set(address, 14);
  arp.set(address, 24);
  return Buffer.concat([ethernet(new Uint8Array(6).fill(0xff), mac, ETHERTYPE.arp), arp]);
}

const ALL_NODES = Uint8Array.of(0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC = Uint8Array.of(0x33, 0x33, 0, 0, 0, 1);
const ICMPV6 = 58;

/** Returns an Ethernet frame. @param mac 6 bytes @param address 16 bytes */
function advertisement(mac: Uint8Array, address: Uint8Array): Buffer {
  const icmp = Buffer.alloc(32);
  icmp[0] = 136;
  // Override: neighbors replace a cached MAC address.
  icmp[4] = 0x20;
  icmp.set(address, 8);
  // The target link-layer address option.
  icmp.set([2, 1], 24);
  icmp.set(mac, 26);
  const ip = Buffer.alloc(40);
  ip[0] = 0x60;
  ip.writeUInt16BE(icmp.length, 4);
  ip[6] = ICMPV6;
  // Receivers require hop limit 255, which proves that no router forwarded it (RFC 4861 §7.1.2).
  ip[7] = 255;
  ip.set(address, 8);
  ip.set(ALL_NODES, 24);
  icmp.writeUInt16BE(icmpv6Checksum(ip, icmp), 2);
  return Buffer.concat([ethernet(ALL_NODES_MAC, mac, ETHERTYPE.ipv6), ip, icmp]);
}

/** Returns the checksum of RFC 1071 with the pseudo-header of RFC 8200 §8.1. */
function icmpv6Checksum(ip: Buffer, icmp: Buffer): number {
  let sum = icmp.length + ICMPV6;
  for (let at = 8; at < 40; at += 2) sum += ip.readUInt16BE(at);
  for (let at = 0; at < icmp.length; at += 2) sum += icmp.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
