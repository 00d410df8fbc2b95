/** Control messages as other ends write them: two Cisco routers' own, and variations. */
import { describe, expect, it } from "vitest";
import { describeFlaw } from "./describe.ts";
import { hide, hidingKey } from "./hiding.ts";
import { type Decoded, decodeEither, decodeMessage } from "./message.ts";
import { concat, fromHex, type Octets, toHex } from "./octets.ts";
import { type End, Simulation } from "./testing/simulation.ts";
import { sessionConfig } from "./testing/testdata.ts";

/** Seen on the wire between two Cisco routers, protocol 115. They carry MPEG-TS (12). */
const ROUTERS = {
  SCCRQ:
    "c80300b3000000000000000080080000000000018008000000020100800a0000000300000000000e00000005be64ff90b0318aad00080000000611308016000000074353542d577568616e2d75627231306b001900000008436973636f2053797374656d732c20496e632e80080000000a0400000a0000003c04060d02000a0000003dcc1f7e4100080000003e000c800a00090001cc1f7e41800800090002000c80080009000a0001000a0009007300000101",
  SCCRP:
    "c80300a3cc1f7e410000000180080000000000028008000000020100800a000000030000000000080000000611308014000000074353542d5246475731302d433131001900000008436973636f2053797374656d732c20496e632e80080000000a0400000a0000003c04060d01000a0000003dbca70a2d00080000003e000c000a00090001bca70a2d000800090002000c00080009000a0001000a0009007300000101",
  ICRQ: "c80300bdbca70a2d00020001800800000000000a000e00000005fe57e07a501e1544800a0000000f0e851459800600000027000a0000003f4aa0f134000a0000004000000000800800000042b3c5800800000044000c800800000044000c000800000045000300080000004600020008000000470001800a000900034aa0f134800a0009000400000000800800090007000c800e00090009fe57e07a501e15448007118b0002008008118b000405ee800e118b0005800000077d8e9e10",
  ICRP: "c80300d8cc1f7e4100010004800800000000000b000600000027000a0000003f40060044000a000000404aa0f134800800000044000c0008000000450003000800000046000200080000004600020008000000470001000a0009000340060044000a000900044aa0f134800c118b00030000000000008008118b000600008008118b000705ee800a118b0064a000b3c5800c118b0065a0001c6e7140800a118b0066a00001b88008118b0067a0018008118b0068a0018010118b0069a0000000004e00000095800a118b006aa00020048008118b006ba000",
  ICCN: "c8030062bca70a2d001a0002800800000000000c800600000027000a0000003f4aa0f134000a0000004040060044000800000045000300080000004600020008000000470001800a000900034aa0f134800a00090004400600448008118b006b2000",
  StopCCN:
    "c803003c4fa07d3f0027004f80080000000000048014000000010001000050656572207265736574000a0000003d0946fd1d000a000900010946fd1d",
  ZLB: "c803000ccc1f7e4100010002",
  HELLO: "c8030014bca70a2d003200198008000000000006",
} as const;

const M = 0x8000;
const CISCO = 9;
const CABLELABS = 4491;

function avp(type: number, value: string, { vendor = 0, flags = M } = {}): string {
  const head = [flags + 6 + value.length / 2, vendor, type];
  return `${head.map((word) => word.toString(16).padStart(4, "0")).join("")}${value}`;
}
const cisco = (type: number, value: string, flags = M) =>
  avp(type, value, { vendor: CISCO, flags });

/** A message of these AVPs. */
function message(
  type: number,
  avps: string[],
  { version = 3, to = 0, ns = 0, nr = 0 } = {},
): Octets {
  const octets = concat(
    new Uint8Array(12),
    fromHex(avp(0, type.toString(16).padStart(4, "0"))),
    fromHex(avps.join("")),
  );
  const view = new DataView(octets.buffer);
  view.setUint16(0, 0xc800 + version);
  view.setUint16(2, octets.length);
  view.setUint32(4, to);
  view.setUint16(8, ns);
  view.setUint16(10, nr);
  return octets;
}

function decode(octets: Octets, secret?: Octets): Decoded {
  const found = decodeMessage(octets, secret === undefined ? null : { key: hidingKey(secret) });
  if ("undecodable" in found) throw new Error(found.undecodable);
  return found;
}

const fatal = ({ flaws }: Decoded) => flaws.filter(({ isFatal }) => isFatal).map(describeFlaw);
const harmless = ({ flaws }: Decoded) => flaws.filter(({ isFatal }) => !isFatal).map(describeFlaw);

const INTRODUCTION = {
  hostName: avp(7, "6e"),
  routerId: avp(60, "c0000202"),
  id: avp(61, "cc1f7e41"),
  capabilities: avp(62, "0005"),
};
const introduction = (...more: string[]) => [...Object.values(INTRODUCTION), ...more];

const CALL = {
  local: avp(63, "4aa0f134"),
  remote: avp(64, "00000000"),
  serial: avp(15, "00000001"),
  type: avp(68, "0005"),
  name: avp(66, "6c616e"),
  circuit: avp(71, "0001"),
};
const call = (change: Partial<typeof CALL> = {}, ...more: string[]) => [
  ...Object.values({ ...CALL, ...change }),
  ...more,
];

/** Attribute types of L2TPv2 and its extensions that L2TPv3 has not taken over. */
const VERSION_2 = [
  2, 3, 4, 6, 9, 11, 12, 13, 14, 16, 17, 18, 19, 21, 22, 23, 24, 26, 27, 28, 29, 30, 31, 32, 33, 35,
  37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 80, 81, 82,
  83, 84,
];

describe("the routers' messages", () => {
  it("introduce them, with AVPs of L2TPv2 and of Cisco's", () => {
    const request = decode(fromHex(ROUTERS.SCCRQ));
    expect(fatal(request)).toEqual([]);
    expect(harmless(request)).toEqual(["unknown: AVP 115 of vendor 9 (Cisco)"]);
    expect(request.attributes).toMatchObject({
      hostName: "CST-Wuhan-ubr10k",
      assignedConnectionId: 0xcc1f7e41,
      pseudowireCapabilities: [12],
      receiveWindowSize: 1024,
    });
    const reply = decode(fromHex(ROUTERS.SCCRP));
    expect(fatal(reply)).toEqual([]);
    expect(reply.attributes.assignedConnectionId).toBe(0xbca70a2d);
  });

  it("request and negotiate sessions, except AVPs of DOCSIS", () => {
    const request = decode(fromHex(ROUTERS.ICRQ));
    expect(request.attributes).toMatchObject({
      localSessionId: 0x4aa0f134,
      remoteSessionId: 0,
      serialNumber: 0x0e851459,
      pseudowireType: 12,
      remoteEndId: "\u00b3\u00c5",
      tieBreaker: "fe57e07a501e1544",
    });
    expect(fatal(request)).toEqual([
      "unknown: AVP 2 of vendor 4491 (CableLabs), and mandatory",
      "unknown: AVP 4 of vendor 4491 (CableLabs), and mandatory",
      "unknown: AVP 5 of vendor 4491 (CableLabs), and mandatory",
    ]);
    for (const hex of [ROUTERS.ICRP, ROUTERS.ICCN]) {
      const { flaws } = decode(fromHex(hex));
      expect(flaws.every(({ vendor }) => vendor === CABLELABS)).toBe(true);
    }
  });

  it.each(["StopCCN", "ZLB", "HELLO"] as const)("%s has no fault", (name) => {
    const { flaws, type } = decode(fromHex(ROUTERS[name]));
    expect(flaws).toEqual([]);
    expect(type).toBe(name === "ZLB" ? null : name);
  });
});

describe("an AVP of L2TPv2", () => {
  const VALUES = ["", "00", "0100", "00000000", "ff".repeat(300)];
  const MESSAGES = [
    [1, introduction()],
    [2, introduction()],
    [3, []],
    [10, call()],
    [11, call()],
    [12, call()],
    [14, [...call(), avp(1, "0001")]],
    [16, call()],
  ] as const;

  it.each(VERSION_2)("%i is ignored in any format, mandatory or not", (type) => {
    for (const [number, rest] of MESSAGES) {
      for (const value of VALUES) {
        for (const flags of [0, M, 0x4000, M | 0x4000, M | 0x3c00]) {
          const own = avp(type, value, { flags });
          const before = decode(message(number, [own, own, ...rest]));
          const behind = decode(message(number, [...rest, own]));
          expect(fatal(before)).toEqual([]);
          expect(fatal(behind)).toEqual([]);
          expect(behind.attributes).toEqual(decode(message(number, [...rest])).attributes);
          expect(behind.foreign[0]?.name).toEqual(expect.any(String));
        }
      }
    }
  });

  it.each([20, 58, 59, 77, 104, 1000])("%i is not one", (type) => {
    const found = decode(message(1, introduction(avp(type, "0001"))));
    expect(fatal(found)).toHaveLength(1);
  });

  it("can be another vendor's with an Extended Vendor ID", () => {
    const wide = (vendor: string) => avp(58, `${vendor}0007abcd`);
    const [flaw] = fatal(decode(message(1, introduction(wide("00012345")))));
    expect(flaw).toBe("unknown: AVP 7 of vendor 74565, and mandatory");
    expect(fatal(decode(message(1, introduction(avp(58, `0000000900010000cc1f7e41`)))))).toEqual(
      [],
    );
  });
});

describe("a request whose header says version 2", () => {
  it.each([1, 2])("is L2TPv3 with a control connection id (message type %i)", (type) => {
    for (const id of [
      avp(61, "cc1f7e41"),
      cisco(1, "cc1f7e41"),
      avp(61, "0011", { flags: 0xc000 }),
    ]) {
      const { capabilities, hostName, routerId } = INTRODUCTION;
      const octets = message(type, [hostName, routerId, capabilities, id, avp(2, "0100")], {
        version: 2,
      });
      expect(decode(octets).version).toBe(3);
    }
  });

  it("is L2TPv2 without, and so is any other message", () => {
    const { id: _, ...rest } = INTRODUCTION;
    const own = [...Object.values(rest), avp(2, "0100"), avp(9, "0001")];
    for (const octets of [
      message(1, own, { version: 2 }),
      message(3, introduction(), { version: 2 }),
      message(10, call(), { version: 2 }),
    ]) {
      expect(decodeMessage(octets)).toEqual({ undecodable: "L2TPv2" });
      expect(decodeEither(octets)).toMatchObject({ version: 2, flaws: [] });
    }
  });
});

describe("Cisco's own AVP", () => {
  const { id: _i, capabilities: _c, ...names } = INTRODUCTION;

  it("is used if the IETF's is missing", () => {
    const { attributes, flaws } = decode(
      message(1, [
        ...Object.values(names),
        cisco(1, "cc1f7e41"),
        cisco(2, "00050004"),
        cisco(10, "0001"),
      ]),
    );
    expect(flaws).toEqual([]);
    expect(attributes).toMatchObject({
      assignedConnectionId: 0xcc1f7e41,
      pseudowireCapabilities: [5, 4],
    });
    const request = decode(
      message(10, [
        cisco(3, "4aa0f134"),
        cisco(4, "00000000"),
        cisco(5, "a1b2c3d4"),
        cisco(6, "002a"),
        cisco(7, "0005"),
        cisco(8, "0001"),
        cisco(9, "0102030405060708"),
        cisco(14, "05dc"),
      ]),
    );
    expect(fatal(request)).toEqual([]);
    expect(request.attributes).toEqual({
      localSessionId: 0x4aa0f134,
      remoteSessionId: 0,
      assignedCookie: "a1b2c3d4",
      remoteEndId: "\u0000*",
      pseudowireType: 5,
      circuitStatus: 1,
      tieBreaker: "0102030405060708",
      interfaceMtu: 1500,
    });
  });

  it.each([
    ["before", (own: string, theirs: string[]) => [own, ...theirs]],
    ["behind", (own: string, theirs: string[]) => [...theirs, own]],
  ])("%s the IETF's is compared with it, and the IETF's counts", (_, order) => {
    const same = decode(message(10, order(cisco(3, "4aa0f134"), call())));
    expect(same.flaws).toEqual([]);
    const other = decode(message(10, order(cisco(3, "00000001"), call())));
    expect(other.attributes.localSessionId).toBe(0x4aa0f134);
    expect(fatal(other)).toEqual(["contradictory: Cisco Local Session ID"]);
    const unimportant = decode(message(10, order(cisco(3, "00000001", 0), call())));
    expect(fatal(unimportant)).toEqual([]);
    expect(harmless(unimportant)).toEqual(["contradictory: Cisco Local Session ID"]);
    const list = decode(message(1, order(cisco(2, "000c"), introduction())));
    expect(fatal(list)).toEqual([]);
    expect(list.attributes.pseudowireCapabilities).toEqual([5]);
    const broken = decode(message(10, order(cisco(8, "01"), call())));
    expect(fatal(broken)).toEqual([]);
  });

  it("is read if hidden", () => {
    const secret = fromHex("733363726574");
    const vector = fromHex("00112233445566778899aabbccddeeff");
    const hidden = hide(
      { key: hidingKey(secret), vector },
      1,
      fromHex("cc1f7e41"),
      new Uint8Array(3),
    );
    const avps = [
      ...Object.values(names),
      INTRODUCTION.capabilities,
      avp(36, toHex(vector)),
      cisco(1, toHex(hidden), 0xc000),
    ];
    expect(decode(message(1, avps), secret).attributes.assignedConnectionId).toBe(0xcc1f7e41);
  });

  it("is rejected if unknown", () => {
    const found = decode(message(1, introduction(cisco(99, "00"))));
    expect(fatal(found)).toEqual(["unknown: AVP 99 of vendor 9 (Cisco), and mandatory"]);
  });

  it("can acknowledge instead of the message type", () => {
    const octets = concat(fromHex("c80300140000002a00030005"), fromHex(cisco(0, "0000")));
    expect(decode(octets)).toMatchObject({ type: "ACK", flaws: [] });
  });

  it("can be a digest before the IETF's", () => {
    const found = decode(message(6, [cisco(12, "00".repeat(16)), avp(59, `00${"00".repeat(16)}`)]));
    expect(found.flaws).toEqual([]);
    expect(found.digests).toHaveLength(1);
  });
});

describe("a hidden cookie", () => {
  const secret = fromHex("733363726574");
  const vector = fromHex("00112233445566778899aabbccddeeff");
  const hidden = (value: string) =>
    avp(
      65,
      toHex(hide({ key: hidingKey(secret), vector }, 65, fromHex(value), new Uint8Array(1))),
      {
        flags: 0xc000,
      },
    );
  const avps = (value: string) => call({}, avp(36, toHex(vector)), hidden(value));

  it("of an invalid length counts as none; an unreadable one ends the session", () => {
    expect(fatal(decode(message(10, avps("010203")), secret))).toEqual([]);
    expect(fatal(decode(message(10, avps("01020304"))))).toEqual(["malformed: Assigned Cookie"]);
  });
});

describe("a router receives", () => {
  const PEER = { address: "192.0.2.2", port: 1701 };

  /** An end of ours, and a router that says what it is told to. */
  class Exchange {
    readonly simulation = new Simulation();
    readonly end: End;
    readonly #from: number;

    constructor(initiates = false) {
      this.end = this.simulation.add(1, { initiates });
      this.end.start([sessionConfig({ callRequest: null })]);
      this.#from = this.simulation.trace.length;
    }

    say(octets: Octets): void {
      this.end.lcce.receive("UDP", PEER, octets, this.simulation.now);
    }

    /** Our messages since its start. */
    get answers(): Decoded[] {
      return this.simulation.trace.slice(this.#from).map((octets) => decode(octets));
    }

    answer(type: string): Decoded {
      const found = this.answers.findLast((each) => each.type === type);
      if (found === undefined) throw new Error(`no ${type}: ${this.answers.map((a) => a.type)}`);
      return found;
    }

    /** Introduces the router. @returns our connection id */
    meet(): number {
      this.say(message(1, introduction()));
      const to = this.answer("SCCRP").attributes.assignedConnectionId as number;
      this.say(message(3, [], { to, ns: 1, nr: 1 }));
      return to;
    }
  }

  it.each([2, 3])("an SCCRP of version 3 for its SCCRQ of version %i", (version) => {
    const exchange = new Exchange();
    const octets = fromHex(ROUTERS.SCCRQ);
    octets[1] = version;
    exchange.say(octets);
    expect(exchange.answer("SCCRP").header.connectionId).toBe(0xcc1f7e41);
    // Again, as it does until it is answered.
    exchange.say(octets);
    expect(exchange.end.peering.connections).toHaveLength(1);
  });

  it.each([
    ["a list of other types", [avp(62, "000c")], []],
    ["an empty list", [avp(62, "")], []],
    [
      "half a type",
      [avp(62, "000c05")],
      [
        "accepted SCCRQ despite a fault: malformed: Pseudowire Capabilities List",
        "accepted SCCRQ despite a fault: missing: Pseudowire Capabilities List",
      ],
    ],
    ["no list", [], ["accepted SCCRQ despite a fault: missing: Pseudowire Capabilities List"]],
  ])("is an SCCRP and an ICRP for %s and a call for Ethernet", (_, list, notes) => {
    const exchange = new Exchange();
    exchange.say(message(1, [...Object.values(INTRODUCTION).slice(0, 3), ...list]));
    const to = exchange.answer("SCCRP").attributes.assignedConnectionId as number;
    exchange.say(message(3, [], { to, ns: 1, nr: 1 }));
    exchange.say(message(10, call(), { to, ns: 2, nr: 1 }));
    expect(exchange.answer("ICRP").attributes.remoteSessionId).toBe(0x4aa0f134);
    expect(exchange.end.notes).toEqual(notes);
  });

  it("nothing for an SCCRQ of L2TPv2", () => {
    const exchange = new Exchange();
    exchange.say(
      message(1, [avp(2, "0100"), avp(3, "00000003"), avp(7, "6e"), avp(9, "0001")], {
        version: 2,
      }),
    );
    expect(exchange.answers).toEqual([]);
    expect(exchange.end.lcce.verdicts.undecodable).toBe(1);
    expect(exchange.end.notes).toEqual(["the peer uses L2TPv2; only L2TPv3 is supported"]);
  });

  it.each([
    [
      "a mandatory AVP",
      introduction(avp(2, "00", { vendor: CABLELABS })),
      8,
      "unknown: AVP 2 of vendor 4491 (CableLabs)",
    ],
    ["half a number", introduction(avp(10, "00")), 3, "malformed: Receive Window Size"],
  ])("is a StopCCN to its connection id for %s", (_, avps, error, words) => {
    const asked = new Exchange();
    asked.say(message(1, avps));
    const asking = new Exchange(true);
    const { assignedConnectionId: to } = decode(asking.simulation.trace[0] as Octets).attributes;
    asking.say(message(2, avps, { to, nr: 1 }));
    for (const exchange of [asked, asking]) {
      const { header, attributes } = exchange.answer("StopCCN");
      expect(header.connectionId).toBe(0xcc1f7e41);
      expect(attributes.resultCode).toEqual({ result: 2, error, message: words });
    }
  });

  it("messages with the ID of its StopCCN", () => {
    const exchange = new Exchange(true);
    const { assignedConnectionId: to } = decode(exchange.simulation.trace[0] as Octets).attributes;
    exchange.say(message(4, [avp(1, "0001"), INTRODUCTION.id], { to, nr: 1 }));
    expect(exchange.answers.at(-1)).toMatchObject({
      type: "ACK",
      header: { connectionId: 0xcc1f7e41 },
    });
  });

  it("an ICRP with the pseudowire type, which is not mandatory there", () => {
    const exchange = new Exchange();
    const to = exchange.meet();
    exchange.say(message(10, call(), { to, ns: 2, nr: 1 }));
    const octets = exchange.simulation.trace.at(-1) as Octets;
    expect(toHex(octets)).toContain(avp(68, "0005", { flags: 0 }));
    expect(decode(octets).attributes).toMatchObject({ pseudowireType: 5 });
  });

  it.each([
    ["no serial number", call({ serial: "" })],
    ["no remote session id", call({ remote: "" })],
    ["no circuit status", call({ circuit: "" })],
    ["a cookie of five octets", call({}, avp(65, "0102030405"))],
    ["a cookie of three octets", call({}, avp(65, "010203"))],
    ["a serial number of two octets", call({ serial: avp(15, "0001") })],
    ["no value in its circuit status", call({ circuit: avp(71, "") })],
    ["Cisco's cookie of three octets", call({}, cisco(5, "010203"))],
    ["Cisco's ids alone", call({ local: cisco(3, "4aa0f134"), remote: cisco(4, "00000000") })],
    ["AVPs of L2TPv2", call({}, avp(39, ""), avp(18, "00000001"), avp(24, "00000001"))],
  ])("is a session for a request with %s", (_, avps) => {
    const exchange = new Exchange();
    const to = exchange.meet();
    exchange.say(message(10, avps, { to, ns: 2, nr: 1 }));
    const { localSessionId = 0 } = exchange.answer("ICRP").attributes;
    const ours = localSessionId.toString(16).padStart(8, "0");
    exchange.say(message(12, [CALL.local, avp(64, ours), avp(39, "")], { to, ns: 3, nr: 2 }));
    expect(exchange.end.sessions.get("shop/lan")).toMatchObject({
      peerSessionId: 0x4aa0f134,
      txCookie: "",
      peerCircuit: { active: true },
    });
  });

  it("an answer despite tolerated faults, which are noted", () => {
    const exchange = new Exchange();
    const to = exchange.meet();
    exchange.say(message(10, call({ serial: "" }), { to, ns: 2, nr: 1 }));
    expect(exchange.end.notes).toEqual(["accepted ICRQ despite a fault: missing: Serial Number"]);
  });

  it("a CDN with its session ID after any fault of its reply", () => {
    for (const wrong of [
      avp(1000, "00"),
      avp(2, "00", { vendor: CABLELABS }),
      avp(68, "0004"),
      avp(69, "0003"),
    ]) {
      const exchange = new Exchange();
      const to = exchange.meet();
      exchange.end.peering.putSession(sessionConfig({ remoteEndId: "42", key: "shop/42" }), 0);
      const { header, attributes } = exchange.answer("ICRQ");
      const ours = (attributes.localSessionId ?? 0).toString(16).padStart(8, "0");
      const { type: _, remote: __, ...reply } = CALL;
      const avps = [...Object.values(reply), avp(64, ours), wrong];
      exchange.say(message(11, avps, { to, ns: 2, nr: header.ns + 1 }));
      expect(exchange.answer("CDN")).toMatchObject({
        header: { connectionId: 0xcc1f7e41 },
        attributes: { remoteSessionId: 0x4aa0f134 },
      });
    }
  });

  it("no error for repeated acknowledgements", () => {
    const exchange = new Exchange();
    const to = exchange.meet();
    const zlb = fromHex("c803000c000000000002000100");
    new DataView(zlb.buffer).setUint32(4, to);
    for (let count = 0; count < 100; count++) exchange.say(zlb.subarray(0, 12));
    expect(exchange.end.peering.established?.state).toBe("established");
    expect(exchange.end.peering.established?.counters).toEqual({
      unauthenticated: 0,
      undecodable: 0,
    });
  });

  it("an open tunnel although its own request lost the tie breaker", () => {
    const exchange = new Exchange(true);
    exchange.say(message(1, introduction(avp(5, "ff".repeat(8)))));
    expect(exchange.answer("StopCCN").attributes.resultCode).toMatchObject({ result: 3 });
    expect(exchange.end.peering.lastEnding).toBeNull();
    const loser = new Exchange(true);
    loser.say(message(1, introduction(avp(5, "00".repeat(8)))));
    expect(loser.answer("SCCRP").header.connectionId).toBe(0xcc1f7e41);
    expect(loser.end.peering.lastEnding).toBeNull();
  });
});
