import { describe, expect, it } from "vitest";
import { concat, fromHex, type Octets } from "../../l2tp/control/octets.ts";
import { Simulation } from "../../l2tp/control/testing/simulation.ts";
import { sessionConfig } from "../../l2tp/control/testing/testdata.ts";
import { decodeCapture, renderDatagram } from "./decode.ts";

const SECRET = new TextEncoder().encode("s3cret");
const SIGNED = { secrets: [SECRET], hidesValues: true };

const u16 = (value: number) => fromHex(value.toString(16).padStart(4, "0"));
const u32 = (value: number) => fromHex(value.toString(16).padStart(8, "0"));
const le32 = (...values: number[]) => new Uint8Array(Uint32Array.from(values).buffer);

function ipv4(protocol: number, payload: Octets, from = "c0000201", to = "c0000202"): Octets {
  const length = u16(20 + payload.length);
  const rest = fromHex(`0000000040${protocol.toString(16).padStart(2, "0")}0000${from}${to}`);
  return concat(fromHex("4500"), length, rest, payload);
}

function udp(payload: Octets, port = 1701): Octets {
  return concat(u16(port), u16(port), u16(8 + payload.length), u16(0), payload);
}

const ethernet = (payload: Octets, type = "0800") =>
  concat(fromHex(`020000000001020000000002${type}`), payload);

function pcap(linkType: number, ...packets: Octets[]): Octets {
  const records = packets.map((packet, index) =>
    concat(le32(1_700_000_000 + index, 250_000, packet.length, packet.length), packet),
  );
  return concat(le32(0xa1b2c3d4, 0x0004_0002, 0, 0, 65535, linkType), ...records);
}

function pcapng(linkType: number, ...packets: Octets[]): Octets {
  const block = (type: number, body: Octets) =>
    concat(le32(type, body.length + 12), body, le32(body.length + 12));
  const padded = (octets: Octets) => concat(octets, new Uint8Array((4 - (octets.length % 4)) % 4));
  return concat(
    block(0x0a0d0d0a, le32(0x1a2b3c4d, 1, 0xffffffff, 0xffffffff)),
    block(1, le32(linkType, 65535)),
    // A block of an unknown type.
    block(5, le32(0, 0, 0)),
    ...packets.map((packet) =>
      block(6, concat(le32(0, 0, 5_000_000, packet.length, packet.length), padded(packet))),
    ),
  );
}

/** Messages that set up a tunnel and a session. */
function setUp(settings: Parameters<Simulation["add"]>[2]): readonly Octets[] {
  const simulation = new Simulation();
  const one = simulation.add(1, {}, settings);
  const other = simulation.add(2, { initiates: false }, settings);
  other.start([sessionConfig({ callRequest: null })]);
  one.start([sessionConfig()]);
  simulation.run(1000);
  return simulation.trace;
}

/** Returns the sender of a message of the setup, by the receiver's connection ID. */
function addressed(trace: readonly Octets[]): Octets[] {
  const ids = trace.map((octets) => new DataView(octets.buffer).getUint32(4));
  const initiator = ids.find((id) => id !== 0);
  return trace.map((octets, index) =>
    ids[index] === initiator
      ? ipv4(17, udp(octets), "c0000202", "c0000201")
      : ipv4(17, udp(octets)),
  );
}

const SET_UP = ["SCCRQ", "SCCRP", "SCCCN", "ICRQ", "ACK", "ICRP", "ICCN", "ACK"];
const ack = fromHex("c80300140000002a000300058008000000000014");

describe("a capture", () => {
  it.each([
    ["pcap, Ethernet", pcap(1, ethernet(ipv4(17, udp(ack))))],
    ["pcapng, Ethernet", pcapng(1, ethernet(ipv4(17, udp(ack))))],
    [
      "two VLAN tags",
      pcap(1, ethernet(concat(fromHex("00058100000a0800"), ipv4(17, udp(ack))), "88a8")),
    ],
    ["another port", pcap(1, ethernet(ipv4(17, udp(ack, 5000))))],
    ["over IP", pcap(101, ipv4(115, concat(u32(0), ack)))],
    ["any interface", pcap(113, concat(fromHex(`${"00".repeat(14)}0800`), ipv4(17, udp(ack))))],
    [
      "any interface, of newer tcpdumps",
      pcap(276, concat(fromHex(`0800${"00".repeat(18)}`), ipv4(17, udp(ack)))),
    ],
  ])("%s", (_, file) => {
    const [only, ...more] = decodeCapture(file, null);
    expect(more).toEqual([]);
    expect(only).toMatchObject({ type: "ACK", connectionId: 42, ns: 3, nr: 5, flaws: [] });
  });

  it("is decoded over IPv6", () => {
    const head = fromHex(
      `60000000${"001c"}1140${"20010db8".padEnd(32, "0")}${"20010db8".padEnd(31, "0")}1`,
    );
    const [message] = decodeCapture(pcap(101, concat(head, udp(ack))), null);
    expect(message).toMatchObject({ from: "[2001:db8::]:1701", to: "[2001:db8::1]:1701" });
  });

  it("may contain other packets, which are skipped", () => {
    const data = fromHex(`00030000${"00".repeat(60)}`);
    const packets = [
      ipv4(17, udp(data)),
      ipv4(6, ack),
      ethernet(ack),
      ipv4(17, udp(ack)).subarray(0, 25),
    ];
    expect([...decodeCapture(pcap(1, ...packets.map((packet) => ethernet(packet))), null)]).toEqual(
      [],
    );
  });

  it.each([
    ["a text", new TextEncoder().encode("nothing of the kind"), /neither pcap nor pcapng/],
    ["nothing", new Uint8Array(0), /too short/],
    ["truncated", pcap(1, ethernet(ipv4(17, udp(ack)))).subarray(0, 70), /corrupt at byte 40/],
    ["truncated", pcapng(1, ethernet(ipv4(17, udp(ack)))).subarray(0, 90), /truncated or corrupt/],
  ])("is rejected: %s", (_, file, message) => {
    expect(() => [...decodeCapture(Uint8Array.from(file), null)]).toThrow(message);
  });
});

describe("the messages of a setup", () => {
  it("are described", () => {
    const file = pcap(101, ...addressed(setUp({})));
    const messages = [...decodeCapture(file, null)];
    expect(messages.map(({ type }) => type)).toEqual(SET_UP);
    const [request, , , call] = messages.map(renderDatagram);
    expect(request?.split("\n")[0]).toBe(
      "22:13:20.250000 192.0.2.1:1701 > 192.0.2.2:1701 SCCRQ to connection 0, Ns 0, Nr 0",
    );
    expect(request).toContain('    Host Name "node-1"\n    Router ID 192.0.2.1\n');
    expect(request).toContain("    Pseudowire Capabilities List 5 (Ethernet)");
    expect(call).toContain('    Remote End ID "lan"\n    Circuit Status not active\n');
    expect(call).toContain("    L2-Specific Sublayer 0 (none)");
  });

  it("are checked and unhidden only with the secret", () => {
    const file = pcap(101, ...addressed(setUp(SIGNED)));
    const open = [...decodeCapture(file, SECRET)];
    expect(open.map(({ type }) => type)).toEqual(SET_UP);
    expect(open.every(({ isAuthentic }) => isAuthentic === true)).toBe(true);
    expect(open.flatMap(({ flaws }) => flaws)).toEqual([]);
    expect(open[3]?.attributes).toContain('Remote End ID "lan"');
    const closed = [...decodeCapture(file, null)];
    expect(closed.every(({ isAuthentic }) => isAuthentic === null)).toBe(true);
    expect(closed[3]?.flaws).toContain("malformed: Remote End ID");
    const wrong = [...decodeCapture(file, new TextEncoder().encode("other"))];
    expect(wrong.every(({ isAuthentic }) => isAuthentic === false)).toBe(true);
    expect(renderDatagram(wrong[0] as (typeof wrong)[number])).toContain("NOT AUTHENTIC");
  });

  it("are not reported as forged if the beginning is missing", () => {
    const file = pcap(101, ...addressed(setUp(SIGNED)).slice(3));
    const messages = [...decodeCapture(file, SECRET)];
    expect(messages.map(({ isAuthentic }) => isAuthentic)).not.toContain(false);
  });

  it("name the AVPs of L2TPv2 and of Cisco", () => {
    const avps = "8008000000000001800800000002010000060000002780" + "0a00090001cc1f7e41";
    const octets = fromHex(`c803002c0000000000000000${avps}`);
    const [message] = decodeCapture(pcap(101, ipv4(17, udp(octets))), null);
    expect(message?.attributes).toEqual([
      "Assigned Control Connection ID 3424616001",
      "Protocol Version of L2TPv2 0100",
      "Sequencing Required of L2TPv2 (empty)",
      "Cisco Assigned Connection ID cc1f7e41",
    ]);
  });

  it("may be of L2TPv2", () => {
    const avps = "800800000000000180080000000201008008000000090007";
    const octets = fromHex(`c80200240004000500000000${avps}`);
    const [message] = decodeCapture(pcap(101, ipv4(17, udp(octets))), null);
    expect(renderDatagram(message as NonNullable<typeof message>).split("\n")).toEqual([
      expect.stringContaining("SCCRQ (L2TPv2) to tunnel 4, session 5, Ns 0, Nr 0"),
      "    Protocol Version 0100",
      "    Assigned Tunnel ID 0007",
    ]);
  });

  it("name result codes", () => {
    const cdn =
      "c80300400000002a00040002800800000000000e801800000001000500006b65696e20506c61747a3a20c3bc800a0000003f00000000800a0000004000000080";
    const [message] = decodeCapture(pcap(101, ipv4(17, udp(fromHex(cdn)))), null);
    expect(message?.attributes[0]).toBe("Result Code 5 (no facilities (kein Platz: ü))");
  });
});
