import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ATTRIBUTE_KEYS, type Attributes } from "./attributes.ts";
import { digestKey, isSigned, NO_NONCES, sign } from "./authentication.ts";
import type { DigestHash } from "./hashes.ts";
import { hide, hidingKey, unhide } from "./hiding.ts";
import { type Body, type Decoded, decodeMessage, encodeBody, encodeMessage } from "./message.ts";
import { MESSAGE_TYPES, type MessageType } from "./message-type.ts";
import { concat, fromHex, type Octets, toHex } from "./octets.ts";

/** From the RFC's figures, by hand and by another language's hashes; secret "s3cret", nonces 00..0f and 10..1f. */
const VECTORS: readonly (readonly [
  name: string,
  header: Decoded["header"],
  body: Body,
  hex: string,
])[] = [
  [
    "SCCRQ",
    { connectionId: 0, ns: 0, nr: 0 },
    {
      type: "SCCRQ",
      attributes: {
        hostName: "node-1",
        routerId: 0xc0000201,
        assignedConnectionId: 42,
        pseudowireCapabilities: [5, 4],
      },
    },
    "c803003e00000000000000008008000000000001800c000000076e6f64652d31800a0000003cc0000201800a0000003d0000002a800a0000003e00050004",
  ],
  [
    "ICRQ",
    { connectionId: 42, ns: 2, nr: 1 },
    {
      type: "ICRQ",
      attributes: {
        localSessionId: 128,
        remoteSessionId: 0,
        serialNumber: 1,
        pseudowireType: 5,
        remoteEndId: "lan",
        circuitStatus: 1,
        assignedCookie: "a1b2c3d4e5f60718",
        l2SpecificSublayer: 1,
        dataSequencing: 2,
      },
    },
    "c80300690000002a00020001800800000000000a800a0000003f00000080800a0000004000000000000a0000000f0000000180080000004400058009000000426c616e8008000000470001800e00000041a1b2c3d4e5f6071880080000004500018008000000460002",
  ],
  [
    "CDN with a message",
    { connectionId: 42, ns: 4, nr: 2 },
    {
      type: "CDN",
      attributes: {
        resultCode: { result: 5, error: 0, message: "kein Platz: ü" },
        localSessionId: 0,
        remoteSessionId: 128,
      },
    },
    "c80300400000002a00040002800800000000000e801800000001000500006b65696e20506c61747a3a20c3bc800a0000003f00000000800a0000004000000080",
  ],
  [
    "ACK",
    { connectionId: 42, ns: 3, nr: 5 },
    { type: "ACK", attributes: {} },
    "c80300140000002a000300058008000000000014",
  ],
];
const SIGNED_SCCRQ =
  "c803006b0000000000000000800800000000000180170000003b0003ff2af703d32872d5cdbdedc4c26476801600000049000102030405060708090a0b0c0d0e0f800c000000076e6f64652d31800a0000003cc0000201800a0000003d0000002a800a0000003e00050004";
const SIGNED_HELLO =
  "c803002f0000002a000300058008000000000006801b0000003b0153701dc05dd4b3fe9d1ef009cfb403ab1973a595";

const secret = new TextEncoder().encode("s3cret");
const key = digestKey(secret);
const nonce = fromHex("000102030405060708090a0b0c0d0e0f");
const peerNonce = fromHex("101112131415161718191a1b1c1d1e1f");

function decode(octets: Octets): Decoded {
  const message = decodeMessage(octets);
  if ("undecodable" in message) throw new Error(message.undecodable);
  return message;
}

describe("vectors", () => {
  it.each(VECTORS)("%s", (_, header, body, hex) => {
    const { octets } = encodeMessage(header, encodeBody(body));
    expect(toHex(octets)).toBe(hex);
    const { flaws, digests, length, version, foreign, ...decoded } = decode(fromHex(hex));
    expect(length).toBe(hex.length / 2);
    expect(decoded).toEqual({ header, ...body });
    expect(flaws).toEqual([]);
    expect(digests).toEqual([]);
    expect([version, foreign]).toEqual([3, []]);
  });

  it("a signed SCCRQ, without nonces in the digest", () => {
    const octets = fromHex(SIGNED_SCCRQ);
    const { digests, attributes, header } = decode(octets);
    expect(isSigned(octets, digests, [key], NO_NONCES)).toBe(true);
    const again = encodeMessage(header, encodeBody({ type: "SCCRQ", attributes }), ["md5"]);
    sign(again.octets, again.digests, [key], NO_NONCES);
    expect(toHex(again.octets)).toBe(SIGNED_SCCRQ);
  });

  it("a HELLO signed with SHA-1 and nonces, the sender's first", () => {
    const octets = fromHex(SIGNED_HELLO);
    const { digests } = decode(octets);
    const nonces = { sender: nonce, receiver: peerNonce };
    expect(isSigned(octets, digests, [key], nonces)).toBe(true);
    const swapped = { sender: peerNonce, receiver: nonce };
    expect(isSigned(octets, digests, [key], swapped)).toBe(false);
    // Any octet that is changed.
    for (const at of octets.keys()) {
      const changed = Uint8Array.from(octets);
      changed[at] = (changed[at] as number) ^ 0x10;
      const message = decodeMessage(changed);
      const passes =
        !("undecodable" in message) &&
        message.digests.length > 0 &&
        isSigned(changed, message.digests, [key], nonces);
      expect(passes, `octet ${at}`).toBe(false);
    }
  });

  it("hidden values, in one block and in several", () => {
    const vector = fromHex("00112233445566778899aabbccddeeff");
    const hiding = { key: hidingKey(secret), vector };
    const cookie = fromHex("a1b2c3d4e5f60718");
    const hidden = hide(hiding, 65, cookie, fromHex("aaaaaa"));
    expect(toHex(hidden)).toBe("ce8e5e445dfcabdfbed1c8e654");
    expect(unhide(hiding, 65, hidden)).toEqual(cookie);
    const name = new TextEncoder().encode("a circuit with quite a long name");
    const long = hide(hiding, 66, name, new Uint8Array(0));
    expect(toHex(long)).toBe(
      "364a025af528f55e9d82b568924c90bfb8236cf65c4a87cc3d6d8facf39ac7bfa7f8",
    );
    expect(unhide(hiding, 66, long)).toEqual(name);
    expect(unhide(hiding, 65, long)).not.toEqual(name);
  });
});

const id = fc.integer({ min: 1, max: 0xffff_ffff });
const uint16 = fc.integer({ min: 0, max: 0xffff });
const uint32 = fc.integer({ min: 0, max: 0xffff_ffff });
const latin = fc
  .array(fc.integer({ min: 1, max: 255 }), { minLength: 1, maxLength: 40 })
  .map((codes) => String.fromCharCode(...codes));
const hexOf = (...lengths: number[]) =>
  fc
    .constantFrom(...lengths)
    .chain((length) => fc.uint8Array({ minLength: length, maxLength: length }))
    .map(toHex);
const anyAttributes: fc.Arbitrary<Attributes> = fc.record(
  {
    resultCode: fc.record({ result: uint16, error: uint16, message: fc.string({ minLength: 1 }) }),
    tieBreaker: hexOf(8),
    hostName: latin,
    vendorName: latin,
    receiveWindowSize: uint16,
    serialNumber: uint32,
    physicalChannelId: uint32,
    circuitErrors: fc.record({
      hardwareOverruns: uint32,
      bufferOverruns: uint32,
      timeoutErrors: uint32,
      alignmentErrors: uint32,
    }),
    routerId: uint32,
    assignedConnectionId: id,
    pseudowireCapabilities: fc.array(uint16, { maxLength: 20 }),
    localSessionId: uint32,
    remoteSessionId: uint32,
    assignedCookie: hexOf(0, 4, 8),
    remoteEndId: latin,
    pseudowireType: uint16,
    l2SpecificSublayer: uint16,
    dataSequencing: uint16,
    circuitStatus: uint16,
    preferredLanguage: latin,
    nonce: fc.uint8Array({ minLength: 1, maxLength: 40 }).map((octets) => Uint8Array.from(octets)),
    txConnectSpeed: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    rxConnectSpeed: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    interfaceMtu: uint16,
    aggregators: fc.array(latin, { minLength: 1, maxLength: 4 }),
    ecnCapability: fc.constant(true as const),
  },
  { requiredKeys: [] },
);
const anyType = fc.constantFrom(...(Object.keys(MESSAGE_TYPES) as MessageType[]));
const anyHeader = fc.record({ connectionId: uint32, ns: uint16, nr: uint16 });

describe("any message", () => {
  it("is read as it was written, hidden or not, signed or not", () => {
    const hidingSecret = { key: hidingKey(secret) };
    fc.assert(
      fc.property(
        anyHeader,
        anyType,
        anyAttributes,
        fc.option(fc.uint8Array({ maxLength: 15 })),
        fc.constantFrom<DigestHash[]>([], ["md5"], ["sha1"], ["md5", "sha1"]),
        (header, type, attributes, padding, digests) => {
          const hiding =
            padding === null
              ? null
              : { ...hidingSecret, vector: nonce, padding: Uint8Array.from(padding) };
          const body = encodeBody({ type, attributes }, hiding);
          const { octets } = encodeMessage(header, body, digests);
          const message = decodeMessage(octets, hidingSecret);
          if ("undecodable" in message) throw new Error(message.undecodable);
          expect(message.header).toEqual(header);
          expect(message.type).toBe(type);
          expect(message.attributes).toEqual(attributes);
          expect(message.digests).toHaveLength(digests.length);
          expect(message.flaws.every(({ what }) => what === "missing")).toBe(true);
        },
      ),
    );
  });

  it("covers every attribute", () => {
    // Else the property above says less than it seems to.
    const all = fc.sample(anyAttributes, { numRuns: 500, seed: 1 });
    const seen = new Set(all.flatMap((attributes) => Object.keys(attributes)));
    expect([...seen].sort()).toEqual([...ATTRIBUTE_KEYS].sort());
  });
});

describe("a faulty message", () => {
  const [, , , hello] = VECTORS.find(([name]) => name === "ICRQ") as (typeof VECTORS)[number];
  const withAvp = (avp: string, type = 6) => {
    const body = fromHex(`80080000000000${type.toString(16).padStart(2, "0")}${avp}`);
    const head = fromHex("c80300000000002a00000000");
    new DataView(head.buffer).setUint16(2, 12 + body.length);
    return concat(head, body);
  };

  it.each([
    ["too short", "c803000c0000002a0000"],
    ["a data message", "00030000000000800000000000000000"],
    ["another version", "c80400140000002a000300058008000000000014"],
    ["version 2 and no SCCRQ", "c80200140000002a000300058008000000000014"],
    ["a length beyond the end", "c80300240000002a000300058008000000000014"],
    ["an AVP beyond the end", "c80300140000002a0003000580ff000000000014"],
    ["an AVP shorter than its head", "c80300140000002a000300058005000000000014"],
    ["another AVP in front", "c80300160000002a00030005800a0000003c00000001"],
  ])("%s: is none", (_, hex) => {
    expect(decodeMessage(fromHex(hex))).toHaveProperty("undecodable");
  });

  it("without an AVP is an acknowledgement", () => {
    expect(decode(fromHex("c803000c0000002a00030005")).type).toBeNull();
  });

  it("is read up to its length", () => {
    expect(decode(fromHex(`${hello}ffffff`)).flaws).toEqual([]);
  });

  it.each([
    ["an unknown AVP, mandatory", "800800000fff0001", { what: "unknown", isFatal: true }],
    ["an unknown AVP, not mandatory", "000800000fff0001", { what: "unknown", isFatal: false }],
    ["another vendor's", "8008118b0001abcd", { what: "unknown", vendor: 4491, isFatal: true }],
    ["a router id of two octets", "80080000003c0001", { what: "malformed", isFatal: true }],
    ["a speed of four octets", "000a0000004a00000001", { what: "malformed", isFatal: false }],
    ["a hidden value without a secret", "c00800000044abcd", { what: "malformed", isFatal: true }],
    [
      "a digest that does not come first",
      `00080000004400058017${"0000003b00"}${"00".repeat(16)}`,
      { what: "malformed", isFatal: true },
    ],
  ])("%s", (_, avp, flaw) => {
    expect(decode(withAvp(avp)).flaws).toMatchObject([flaw]);
  });

  it("reports missing required attributes", () => {
    const { flaws } = decode(withAvp("", 10));
    expect(flaws.map(({ name }) => name)).toEqual([
      "Local Session ID",
      "Remote Session ID",
      "Serial Number",
      "Pseudowire Type",
      "Remote End ID",
      "Circuit Status",
    ]);
    expect(flaws.every(({ what }) => what === "missing")).toBe(true);
    expect(flaws.filter(({ isFatal }) => isFatal).map(({ name }) => name)).toEqual([
      "Local Session ID",
      "Pseudowire Type",
      "Remote End ID",
    ]);
  });

  it("can have an unknown type, mandatory or not", () => {
    const { type, flaws } = decode(withAvp("", 99));
    expect(type).toBe("unknown");
    expect(flaws).toMatchObject([{ what: "unknown", name: "Message Type 99", isFatal: true }]);
  });

  it("never throws: a million of them are read or rejected", () => {
    const messages = VECTORS.map(([, , , hex]) => fromHex(hex));
    const signed = [fromHex(SIGNED_SCCRQ), fromHex(SIGNED_HELLO)];
    const all = [...messages, ...signed];
    let state = 1;
    const below = (bound: number) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * bound);
    };
    const hiding = { key };
    let read = 0;
    for (let round = 0; round < 1_000_000; round++) {
      const octets = Uint8Array.from(all[below(all.length)] as Octets);
      for (let flips = 1 + below(3); flips > 0; flips--) octets[below(octets.length)] = below(256);
      const cut = below(8) === 0 ? octets.subarray(0, below(octets.length)) : octets;
      if (!("undecodable" in decodeMessage(cut, hiding))) read++;
    }
    expect(read).toBeGreaterThan(200_000);
    expect(read).toBeLessThan(1_000_000);
  }, 120_000);
});
