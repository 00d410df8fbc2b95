/** Captures of packets between two hosts. */
import { afterEach, beforeEach, expect, it } from "vitest";
import { closeFd } from "../../linux/fd.ts";
import { inNetns } from "../../linux/netns.ts";
import { PacketCapture } from "../../linux/packet-capture.ts";
import type { PacketFilter } from "../../linux/packet-filter.ts";
import {
  encodeSockaddr,
  openDatagramSocket,
  type SocketAddress,
  sendTo,
} from "../../linux/socket.ts";
import { IP_PROTOCOL, parseIpPacket } from "../../net/ip-packet.ts";
import { type Host, ip, TestNet } from "../harness/net.ts";
import { until } from "../harness/wait.ts";

const UDP: number = IP_PROTOCOL.udp;
const L2TP: number = IP_PROTOCOL.l2tp;

let net: TestNet;
let captures: PacketCapture[];

beforeEach(async () => {
  net = await TestNet.create();
  captures = [];
});

afterEach(async () => {
  for (const capture of captures) capture.close();
  await net.remove();
});

/** Starts a capture at host a. */
function capture(filter: PacketFilter, options = {}): PacketCapture {
  const opened = new PacketCapture(filter, { netns: net.a.netns, ...options });
  captures.push(opened);
  return opened;
}

type Family = "ipv4" | "ipv6";

function between(family: Family, protocol = UDP, localPort = 1701, remotePort = 5000) {
  return {
    protocol,
    local: { address: net.a[family], port: localPort },
    remote: { address: net.b[family], port: remotePort },
    takes: "between" as const,
  };
}

interface Datagram {
  readonly from: Host;
  readonly source: SocketAddress;
  readonly to: SocketAddress;
  readonly text: string;
  readonly protocol?: number;
}

function send({ from, source, to, text, protocol = UDP }: Datagram): void {
  const raw = protocol === UDP ? null : protocol;
  // Raw sockets have no ports.
  const at = (address: SocketAddress) => (raw === null ? address : { ...address, port: 0 });
  const fd = inNetns(from.netns, () => openDatagramSocket(raw, at(source)));
  expect(sendTo(fd, Buffer.from(text), encodeSockaddr(at(to)))).toBe(true);
  closeFd(fd);
}

/** Sends a datagram from a to b, or from b to a, on the ports of `between`. */
function cross(family: Family, from: "a" | "b", text: string, protocol = UDP): void {
  const { local, remote } = between(family, protocol);
  const [source, to] = from === "a" ? [local, remote] : [remote, local];
  send({ from: net[from], source, to, text, protocol });
}

/** The packets captured so far, as text. */
function shown(of: PacketCapture): string[] {
  return of.read().map(({ outgoing, octets }) => {
    const packet = parseIpPacket(octets);
    const text = Buffer.from(octets.subarray(packet?.payloadAt)).toString();
    return `${outgoing ? "out" : "in"} ${text}`;
  });
}

async function untilShown(of: PacketCapture, ...expected: string[]): Promise<void> {
  const all: string[] = [];
  await until("the packets are captured", () => {
    all.push(...shown(of));
    return all.length >= expected.length;
  });
  expect(all).toEqual(expected);
}

it.each([
  ["UDP over IPv4", "ipv4", UDP],
  ["UDP over IPv6", "ipv6", UDP],
  ["protocol 115 over IPv4", "ipv4", L2TP],
  ["protocol 115 over IPv6", "ipv6", L2TP],
] as const)("captures %s in both directions, and nothing else", async (_, family, protocol) => {
  const captured = capture(between(family, protocol));
  const other = protocol === UDP ? L2TP : UDP;
  cross(family, "a", "another protocol", other);
  send({
    from: net.a,
    source: { address: net.a[family], port: 1702 },
    to: { address: net.b[family], port: 5001 },
    text: "other ports",
    protocol: UDP,
  });
  cross(family, "a", "there", protocol);
  cross(family, "b", "and back", protocol);
  await untilShown(captured, "out there", "in and back");
});

it.each(["ipv4", "ipv6"] as const)("filters by one port over %s", async (family) => {
  const captured = capture({ ...between(family), takes: "either port" });
  const { local, remote } = between(family);
  const back = (sourcePort: number, port: number, text: string) =>
    send({
      from: net.b,
      source: { ...remote, port: sourcePort },
      to: { ...local, port },
      text,
    });
  back(5001, 1702, "neither");
  back(5000, 1702, "to another");
  back(5001, 1701, "from another");
  await untilShown(captured, "in to another", "in from another");
});

it.each(["ipv4", "ipv6"] as const)("captures packets of other senders over %s", async (family) => {
  const other = family === "ipv4" ? "192.0.2.77" : "2001:db8::77";
  const prefix = family === "ipv4" ? "24" : "64";
  const nodad = family === "ipv4" ? [] : ["nodad"];
  await ip(net.b.name, "addr", "add", `${other}/${prefix}`, "dev", net.b.device, ...nodad);
  const captured = capture({ ...between(family), takes: "others" });
  cross(family, "b", "from the remote");
  const { local } = between(family);
  const from = (port: number, text: string) =>
    send({ from: net.b, source: { address: other, port: 7 }, to: { ...local, port }, text });
  from(1702, "to another port");
  from(1701, "from somewhere else");
  await untilShown(captured, "in from somewhere else");
});

it.each(["ipv4", "ipv6"] as const)(
  "captures the first fragment over %s, and the full length",
  async (family) => {
    const captured = capture(between(family), { snapBytes: 64 });
    cross(family, "b", "x".repeat(2000));
    cross(family, "b", "whole");
    const packets: ReturnType<typeof parseIpPacket>[] = [];
    await until("both packets are captured", () => {
      for (const { octets } of captured.read()) {
        expect(octets.length).toBeLessThanOrEqual(64);
        packets.push(parseIpPacket(octets));
      }
      return packets.length >= 2;
    });
    expect(packets.map((packet) => packet?.isFragmented)).toEqual([true, false]);
    expect(packets[0]?.payloadBytes).toBeGreaterThan(1000);
    expect(packets[1]?.payloadBytes).toBe(5);
  },
);

it("records time and device of packets", async () => {
  const captured = capture(between("ipv4"));
  const before = Date.now() / 1000;
  cross("ipv4", "a", "now");
  const packet = await until("the packet is captured", () => captured.read()[0]);
  expect(packet.seconds).toBeGreaterThan(before - 1);
  expect(packet.seconds).toBeLessThan(Date.now() / 1000 + 1);
  const links = JSON.parse(await ip(net.a.name, "-j", "link", "show", "dev", net.a.device));
  expect(packet.device).toBe(links[0].ifindex);
});

it("counts packets that do not fit into its buffer", async () => {
  const captured = capture(between("ipv4"), { bufferBytes: 8192 });
  for (let index = 0; index < 200; index++) cross("ipv4", "a", `message ${index}`);
  const kept = captured.read(1000);
  expect(kept.length).toBeGreaterThan(0);
  expect(captured.dropped).toBe(200 - kept.length);
  expect(captured.dropped).toBe(200 - kept.length);
});

it("captures a packet once that passes a bridge and its port", async () => {
  const { name, device, ipv4 } = net.a;
  await ip(name, "link", "add", "br0", "type", "bridge");
  await ip(name, "link", "set", device, "master", "br0");
  await ip(name, "link", "set", "br0", "up");
  await ip(name, "addr", "del", `${ipv4}/24`, "dev", device);
  await ip(name, "addr", "add", `${ipv4}/24`, "dev", "br0");
  const captured = capture(between("ipv4"));
  cross("ipv4", "a", "out");
  cross("ipv4", "b", "in");
  cross("ipv4", "a", "last");
  await untilShown(captured, "out out", "in in", "out last");
});
