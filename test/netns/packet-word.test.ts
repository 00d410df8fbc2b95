/** Captures that filter by the payload, between two hosts. */
import { afterEach, beforeEach, expect, it } from "vitest";
import { closeFd } from "../../linux/fd.ts";
import { inNetns } from "../../linux/netns.ts";
import { type CaptureOptions, PacketCapture } from "../../linux/packet-capture.ts";
import type { PacketFilter } from "../../linux/packet-filter.ts";
import { encodeSockaddr, openDatagramSocket, sendTo } from "../../linux/socket.ts";
import { IP_PROTOCOL, parseIpPacket } from "../../net/ip-packet.ts";
import { TestNet } from "../harness/net.ts";
import { until } from "../harness/wait.ts";

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

type Family = "ipv4" | "ipv6";

const ends = (family: Family) => ({
  local: { address: net.a[family], port: 1701 },
  remote: { address: net.b[family], port: 5000 },
});

function capture(
  family: Family,
  more: Partial<PacketFilter>,
  options: CaptureOptions = {},
): PacketCapture {
  const filter = { protocol: IP_PROTOCOL.udp, ...ends(family), takes: "between" as const, ...more };
  const opened = new PacketCapture(filter, { netns: net.a.netns, ...options });
  captures.push(opened);
  return opened;
}

/** Sends datagrams from b to a. */
function send(family: Family, ...texts: string[]): void {
  const { local, remote } = ends(family);
  const fd = inNetns(net.b.netns, () => openDatagramSocket(null, remote));
  for (const text of texts) {
    expect(sendTo(fd, Buffer.from(text), encodeSockaddr(local))).toBe(true);
  }
  closeFd(fd);
}

async function expectShown(of: PacketCapture, ...expected: string[]): Promise<void> {
  const all: string[] = [];
  await until("the packets are captured", () => {
    for (const { octets } of of.read()) {
      all.push(Buffer.from(octets.subarray(parseIpPacket(octets)?.payloadAt)).toString());
    }
    return all.length >= expected.length;
  });
  expect(all).toEqual(expected);
}

it.each(["ipv4", "ipv6"] as const)(
  "filters packets by a word of the payload, over %s",
  async (family) => {
    // Behind UDP's header: "ab" and two others.
    const word = { at: 8, mask: 0xffff_0000, value: 0x6162_0000 };
    const those = capture(family, { word: { ...word, isTaken: true } });
    const others = capture(family, { word: { ...word, isTaken: false } });
    send(family, "abcd", "xbcd", "abxx", "ab", "xxxx");
    await expectShown(those, "abcd", "abxx");
    await expectShown(others, "xbcd", "xxxx");
  },
);

it("keeps long packets complete, if requested", async () => {
  const captured = capture("ipv4", {}, { snapBytes: 65_536 });
  const text = "x".repeat(1400);
  send("ipv4", text);
  await expectShown(captured, text);
});
