import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ethernetVlan } from "./ethernet-vlan.ts";
import {
  createPseudowireCounters,
  DROPPED,
  type PseudowireCounters,
  type TagRule,
  type VlanSettings,
} from "./pseudowire.ts";

const ROOM_BYTES = 64;
const ADDRESSES = "020000000002020000000001";
const PAYLOAD = "0800450000";
const frameOf = (...hex: readonly string[]) =>
  Buffer.from([ADDRESSES, ...hex].join("").padEnd(120, "0"), "hex");

/** One end, which rewrites frames in its own memory. */
class End {
  readonly counters: PseudowireCounters = createPseudowireCounters();
  readonly #rewriter;

  constructor(vlan: VlanSettings) {
    this.#rewriter = ethernetVlan.createRewriter({ mtu: 1500, vlan }, this.counters);
  }

  toWire(frame: Uint8Array): Buffer | null {
    return rewritten(frame, (memory, at, end) => this.#rewriter.toWire(memory, at, end));
  }

  fromWire(frame: Uint8Array, frames = 1): Buffer | null {
    return rewritten(frame, (memory, at, end) => this.#rewriter.fromWire(memory, at, end, frames));
  }

  counted(): Partial<PseudowireCounters> {
    return Object.fromEntries(Object.entries(this.counters).filter(([, count]) => count > 0));
  }
}

type Rewrite = (
  memory: { readonly bytes: Uint8Array; readonly view: DataView },
  at: number,
  end: number,
) => number;

/** Returns the rewritten frame; null: dropped. Fails if memory behind the frame, or far in front of it, changes. */
function rewritten(frame: Uint8Array, rewrite: Rewrite): Buffer | null {
  const bytes = Buffer.alloc(ROOM_BYTES + frame.length + ROOM_BYTES, 0xee);
  bytes.set(frame, ROOM_BYTES);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const end = ROOM_BYTES + frame.length;
  const from = rewrite({ bytes, view }, ROOM_BYTES, end);
  expect(bytes.subarray(0, ROOM_BYTES - 4).every((byte) => byte === 0xee)).toBe(true);
  expect(bytes.subarray(end).every((byte) => byte === 0xee)).toBe(true);
  return from === DROPPED ? null : bytes.subarray(from, end);
}

const untagged = (id: number, peerId = id): VlanSettings => ({ id, peerId, pod: "Untagged" });
const tagged = (id: number, peerId = id): VlanSettings => ({ id, peerId, pod: "Tagged" });

const vlanId = fc.integer({ min: 1, max: 4094 });
const hex4 = (value: number) => value.toString(16).padStart(4, "0");
const tag = fc
  .record({ type: fc.constantFrom("8100", "88a8"), rest: fc.nat(15), id: fc.nat(4095) })
  .map(({ type, rest, id }) => `${type}${hex4((rest << 12) | id)}`);
/** Frames with up to two tags, or random bytes. */
const frame = fc.oneof(
  fc
    .record({ tags: fc.array(tag, { maxLength: 2 }), rest: fc.uint8Array({ maxLength: 1500 }) })
    .map(({ tags, rest }) => Buffer.concat([frameOf(...tags, PAYLOAD), rest])),
  fc.uint8Array({ minLength: 18, maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
);
const isPriorityTagged = (bytes: Buffer) =>
  bytes.readUInt16BE(12) === 0x8100 && (bytes.readUInt16BE(14) & 0xfff) === 0;

describe("a round trip", () => {
  it("returns an untagged pod's frame, for all IDs of the ends", () => {
    fc.assert(
      fc.property(frame, vlanId, vlanId, (bytes, one, other) => {
        // A priority tag has no VLAN, and becomes the session's tag.
        fc.pre(!isPriorityTagged(bytes));
        const wire = new End(untagged(one, other)).toWire(bytes);
        expect(wire).toEqual(
          Buffer.concat([
            bytes.subarray(0, 12),
            Buffer.from(`8100${hex4(other)}`, "hex"),
            bytes.subarray(12),
          ]),
        );
        for (const peer of [untagged(other), untagged(other, one), untagged(one, other)]) {
          expect(new End(peer).fromWire(wire as Buffer)).toEqual(bytes);
        }
      }),
    );
  });

  it("returns a tagged pod's frame with the other end's ID", () => {
    fc.assert(
      fc.property(frame, vlanId, vlanId, fc.nat(15), (bytes, one, other, rest) => {
        bytes.writeUInt16BE(0x8100, 12);
        bytes.writeUInt16BE((rest << 12) | one, 14);
        const expected = Buffer.from(bytes);
        expected.writeUInt16BE((rest << 12) | other, 14);
        const wire = new End(tagged(one, other)).toWire(bytes) as Buffer;
        expect(wire).toEqual(expected);
        // Both ends translate, or only one of them.
        for (const peer of [tagged(other), tagged(other, one)]) {
          expect(new End(peer).fromWire(wire)).toEqual(expected);
          const back = new End(peer).toWire(expected) as Buffer;
          expect(new End(tagged(one, other)).fromWire(back)).toEqual(bytes);
        }
      }),
    );
  });
});

const Q = "8100";
const AD = "88a8";

describe.each(["Untagged", "Tagged"] as const)(
  "frames from the wire to a pod that is %s",
  (pod) => {
    const pass = (hex: string) => (pod === "Tagged" ? frameOf(hex) : frameOf(hex.slice(8)));

    it.each<[string, string, "pass" | null, Partial<PseudowireCounters>]>([
      ["of the VLAN", `${Q}0064${PAYLOAD}`, "pass", {}],
      ["with a priority", `${Q}e064${PAYLOAD}`, "pass", {}],
      ["with an inner tag", `${Q}0064${Q}0007${PAYLOAD}`, "pass", { rxInnerTagged: 3 }],
      ["with an inner tag of 802.1ad", `${Q}0064${AD}0007${PAYLOAD}`, "pass", { rxInnerTagged: 3 }],
      ["of another VLAN", `${Q}0065${PAYLOAD}`, null, { rxOtherVlan: 3 }],
      ["of VLAN 4095", `${Q}0fff${PAYLOAD}`, null, { rxOtherVlan: 3 }],
      ["with an outer tag of 802.1ad", `${AD}0064${PAYLOAD}`, null, { rxOtherVlan: 3 }],
      ["of the VLAN within another", `${Q}0065${Q}0064${PAYLOAD}`, null, { rxOtherVlan: 3 }],
      ["without a tag", PAYLOAD, null, { rxUntagged: 3 }],
      ["with a priority tag", `${Q}e000${PAYLOAD}`, null, { rxUntagged: 3 }],
    ])("%s", (_what, hex, fate, counted) => {
      const end = new End({ id: 100, peerId: 100, pod });
      const arrived = end.fromWire(frameOf(hex), 3);
      const expected = fate === null ? null : pass(hex).subarray(0, arrived?.length);
      expect(arrived).toEqual(expected);
      expect(end.counted()).toEqual(counted);
    });
  },
);

it.each<[string, VlanSettings, string, string | null, Partial<PseudowireCounters>]>([
  ["pushes", untagged(100, 200), PAYLOAD, `${Q}00c8${PAYLOAD}`, {}],
  ["fills in", untagged(100, 200), `${Q}e000${PAYLOAD}`, `${Q}e0c8${PAYLOAD}`, {}],
  ["pushes", untagged(7), `${Q}0007${PAYLOAD}`, `${Q}0007${Q}0007${PAYLOAD}`, { txInnerTagged: 1 }],
  [
    "pushes",
    untagged(7),
    `${AD}0009${PAYLOAD}`,
    `${Q}0007${AD}0009${PAYLOAD}`,
    { txInnerTagged: 1 },
  ],
  ["passes", tagged(100), `${Q}0064${PAYLOAD}`, `${Q}0064${PAYLOAD}`, {}],
  ["translates", tagged(100, 200), `${Q}e064${PAYLOAD}`, `${Q}e0c8${PAYLOAD}`, {}],
  ["passes", tagged(100), `${Q}0064${Q}0007`, `${Q}0064${Q}0007`, { txInnerTagged: 1 }],
  ["drops", tagged(100, 200), `${Q}00c8${PAYLOAD}`, null, { txOtherVlan: 1 }],
  ["drops", tagged(100), `${AD}0064${PAYLOAD}`, null, { txOtherVlan: 1 }],
  ["drops", tagged(100), PAYLOAD, null, { txUntagged: 1 }],
  ["drops", tagged(100), `${Q}6000${PAYLOAD}`, null, { txUntagged: 1 }],
])("%s a pod's frame: %o, %s", (_verb, vlan, from, to, counted) => {
  const end = new End(vlan);
  const sent = end.toWire(frameOf(from));
  expect(sent?.toString("hex", 0, 26) ?? null).toEqual(
    to === null ? null : frameOf(to).toString("hex", 0, 26),
  );
  expect(end.counted()).toEqual(counted);
});

it("drops a frame that is too short for its header", () => {
  const cut = (hex: string, bytes: number) => frameOf(hex).subarray(0, bytes);
  expect(new End(untagged(1)).toWire(cut(PAYLOAD, 13))).toBeNull();
  expect(new End(untagged(1)).toWire(cut(`${Q}0001`, 17))).toBeNull();
  expect(new End(untagged(1)).toWire(cut(PAYLOAD, 14))).toHaveLength(18);
  expect(new End(tagged(1)).toWire(cut(`${Q}0001`, 17))).toBeNull();
});

it("drops all frames of a session without spec.vlan", () => {
  const rewriter = ethernetVlan.createRewriter({ mtu: 1500 }, createPseudowireCounters());
  const bytes = frameOf(`${Q}0000`);
  expect(rewritten(bytes, (memory, at, end) => rewriter.toWire(memory, at, end))).toBeNull();
  expect(rewritten(bytes, (memory, at, end) => rewriter.fromWire(memory, at, end, 1))).toBeNull();
});

describe("the tc rules", () => {
  const TYPE = { "802.1Q": 0x8100, "802.1ad": 0x88a8 } as const;

  /** Simulates flower, act_vlan and act_gact. */
  function apply(rules: readonly TagRule[], bytes: Buffer, counted: Record<string, number>) {
    const [outer, control, inner] = [12, 14, 16].map((at) => bytes.readUInt16BE(at)) as [
      number,
      number,
      number,
    ];
    const found = rules.find(
      ({ tag: type, vlanId: id, innerTag }) =>
        (type === undefined || TYPE[type] === outer) &&
        (id === undefined || id === (control & 0xfff)) &&
        (innerTag === undefined || TYPE[innerTag] === inner),
    );
    if (found === undefined) throw new Error("no rule");
    if (found.counter !== undefined) counted[found.counter] = (counted[found.counter] ?? 0) + 1;
    const { action } = found;
    const [head, rest] = [bytes.subarray(0, 12), bytes.subarray(12)];
    const tagOf = (id: number, other = 0) => Buffer.from(`8100${hex4(other | id)}`, "hex");
    switch (action.do) {
      case "pass":
        return bytes;
      case "drop":
        return null;
      case "pop":
        return Buffer.concat([head, rest.subarray(4)]);
      case "push":
        return Buffer.concat([head, tagOf(action.vlanId), rest]);
      case "modify":
        return Buffer.concat([head, tagOf(action.vlanId, control & 0xf000), rest.subarray(4)]);
    }
  }

  it("have the same effect as the rewriter", () => {
    // Few IDs, so that many frames match.
    const few = fc.integer({ min: 1, max: 3 });
    const fewTags = fc.array(
      fc
        .record({ type: fc.constantFrom(Q, AD), rest: fc.nat(15), id: fc.nat(4) })
        .map(({ type, rest, id }) => `${type}${hex4((rest << 12) | id)}`),
      { maxLength: 3 },
    );
    const settings = fc.record({
      ...{ id: few, peerId: few },
      pod: fc.constantFrom("Untagged" as const, "Tagged" as const),
    });
    fc.assert(
      fc.property(settings, fewTags, (vlan, tags) => {
        const bytes = frameOf(...tags, PAYLOAD);
        const rules = ethernetVlan.kernel.tagRules({ mtu: 1500, vlan });
        for (const side of ["toWire", "fromWire"] as const) {
          const end = new End(vlan);
          const counted: Record<string, number> = {};
          expect(apply(rules[side], bytes, counted)).toEqual(end[side](bytes));
          expect(counted).toEqual(end.counted());
        }
      }),
      { numRuns: 2000 },
    );
  });
});
