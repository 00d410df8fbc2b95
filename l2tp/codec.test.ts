import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  cookieWords,
  createHeaderOut,
  DecodeStatus,
  dataHeaderBytes,
  decodeSessionHeader,
  decodeSessionId,
  encodeDataHeader,
  MAX_HEADER_BYTES,
  type SessionTx,
} from "./codec.ts";

interface Shape {
  overUdp?: boolean;
  sessionId?: number;
  cookie?: string;
  sublayer?: boolean;
  sequencing?: boolean;
  sequence?: number;
}

function sender(shape: Shape): SessionTx {
  return {
    overUdp: shape.overUdp ?? true,
    sessionId: shape.sessionId ?? 0x208,
    ...cookieWords(shape.cookie ?? ""),
    sublayer: shape.sublayer ?? false,
    sequencing: shape.sequencing ?? false,
    sequence: shape.sequence ?? 0,
  };
}

function encode(tx: SessionTx): string {
  const bytes = new Uint8Array(MAX_HEADER_BYTES + 3).fill(0xee);
  const length = encodeDataHeader(new DataView(bytes.buffer), 3, tx);
  return Buffer.from(bytes.subarray(3, 3 + length)).toString("hex");
}

/** Decodes `hex` behind some junk, as from the middle of an arena. */
function decode(hex: string, rx: Shape) {
  const bytes = Buffer.concat([Buffer.alloc(5, 0xee), Buffer.from(hex, "hex")]);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const out = createHeaderOut();
  const first = decodeSessionId(view, 5, bytes.length, rx.overUdp ?? true, out);
  if (first !== DecodeStatus.Ok) return { status: first };
  const status = decodeSessionHeader(view, bytes.length, sender(rx), out);
  return status === DecodeStatus.Ok
    ? { status, sessionId: out.sessionId, sequence: out.sequence, header: out.next - 5 }
    : { status };
}

describe("encodeDataHeader", () => {
  it.each<[string, Shape, string]>([
    ["bare, UDP", {}, "0003000000000208"],
    ["bare, IP", { overUdp: false }, "00000208"],
    ["cookie of 4", { cookie: "aabbccdd" }, "0003000000000208aabbccdd"],
    [
      // Captured from Linux 6.1 with `cookie aabbccdd seq send`.
      "as the kernel sends its first frame",
      { cookie: "aabbccdd", sublayer: true, sequencing: true },
      "0003000000000208aabbccdd40000000",
    ],
    [
      "all there is",
      {
        sessionId: 0xffffffff,
        cookie: "a1b2c3d4e5f60718",
        sublayer: true,
        sequencing: true,
        sequence: 0xffffff,
      },
      "00030000ffffffffa1b2c3d4e5f6071840ffffff",
    ],
    ["sublayer without sequencing", { sublayer: true }, "000300000000020800000000"],
  ])("%s", (_name, shape, hex) => {
    expect(encode(sender(shape))).toBe(hex);
    expect(dataHeaderBytes(sender(shape))).toBe(hex.length / 2);
  });

  it("counts the frames, and wraps", () => {
    const tx = sender({ sublayer: true, sequencing: true, sequence: 0xfffffe });
    expect([encode(tx), encode(tx), encode(tx)].map((hex) => hex.slice(-6))).toEqual([
      "fffffe",
      "ffffff",
      "000000",
    ]);
  });
});

describe("decoding", () => {
  it.each<[string, string, Shape, number]>([
    ["nothing", "", {}, DecodeStatus.Short],
    ["half of the UDP word", "0003", {}, DecodeStatus.Short],
    ["half of the session id", "000300000000", {}, DecodeStatus.Short],
    ["no room for the cookie", "0003000000000208aabb", { cookie: "aabbccdd" }, DecodeStatus.Short],
    ["no room for the sublayer", "000300000000020840", { sublayer: true }, DecodeStatus.Short],
    ["L2TPv2", "0002000000000208", {}, DecodeStatus.WrongVersion],
    ["a control message over UDP", "c803000c00000000", {}, DecodeStatus.Control],
    ["a control message for both versions", "c802000c00000000", {}, DecodeStatus.Control],
    ["a control message over IP", "00000000c803", { overUdp: false }, DecodeStatus.Control],
    ["another cookie", "0003000000000208aabbccde", { cookie: "aabbccdd" }, DecodeStatus.BadCookie],
    [
      "another second half of the cookie",
      "0003000000000208aabbccdd00000001",
      { cookie: "aabbccdd00000000" },
      DecodeStatus.BadCookie,
    ],
  ])("%s", (_name, hex, rx, status) => {
    expect(decode(hex, rx)).toEqual({ status });
  });

  it("ignores the reserved bits (RFC 3931 §4.1.2.1)", () => {
    expect(decode("7ff3ffff00000208", {})).toMatchObject({ status: 0, sessionId: 0x208 });
  });

  it("ignores a sequence number without the S bit", () => {
    const rx = { sublayer: true };
    expect(decode("000300000000020800000007", rx)).toMatchObject({ sequence: -1 });
    expect(decode("000300000000020840000007", rx)).toMatchObject({ sequence: 7 });
  });

  it("reads what it writes, for every header format", () => {
    const cookie = fc.oneof(
      fc.constant(""),
      ...[4, 8].map((bytes) =>
        fc
          .uint8Array({ minLength: bytes, maxLength: bytes })
          .map((cookieBytes) => Buffer.from(cookieBytes).toString("hex")),
      ),
    );
    const shape = fc.record({
      overUdp: fc.boolean(),
      sessionId: fc.integer({ min: 1, max: 0xffffffff }),
      cookie,
      sublayer: fc.boolean(),
      sequencing: fc.boolean(),
      sequence: fc.integer({ min: 0, max: 0xffffff }),
    });
    fc.assert(
      fc.property(shape, (drawn) => {
        const hex = encode(sender(drawn));
        expect(decode(hex, drawn)).toEqual({
          status: DecodeStatus.Ok,
          sessionId: drawn.sessionId,
          sequence: drawn.sublayer && drawn.sequencing ? drawn.sequence : -1,
          header: hex.length / 2,
        });
      }),
    );
  });

  it("never reads past the end for any input", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 24 }),
        fc.boolean(),
        fc.boolean(),
        fc.constantFrom("", "00000000", "0000000000000000"),
        (bytes, overUdp, sublayer, cookie) => {
          const result = decode(Buffer.from(bytes).toString("hex"), { overUdp, sublayer, cookie });
          if (result.status === DecodeStatus.Ok) {
            expect(result.header).toBeLessThanOrEqual(bytes.length);
          }
        },
      ),
    );
  });
});
