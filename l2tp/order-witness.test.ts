import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type OrderDecision, type OrderWitness, ReorderWitness } from "./order-witness.ts";

const words = ({ what, sequence, words: more }: OrderDecision) =>
  `${what} ${sequence}${more === undefined ? "" : ` (${more})`}`;

const say = (witness: OrderWitness, ...numbers: number[]) =>
  numbers.flatMap((sequence) => witness.offer(sequence, 1)).map(words);

describe("without reordering", () => {
  it("reports delivered, skipped and late frames", () => {
    expect(say(new ReorderWitness(0), 10, 11, 14, 12)).toEqual([
      "delivered 10",
      "delivered 11",
      "skipped 14 (2)",
      "delivered 14",
      "dropped 12 (it is late)",
    ]);
  });

  it("reports an accepted restart of the sender", () => {
    const said = say(new ReorderWitness(0), 5000, 5001, 0, 1, 2, 3, 4, 5);
    expect(said.slice(-3)).toEqual(["restart 4", "delivered 4", "delivered 5"]);
  });
});

describe("with reordering", () => {
  it("reports held and released frames", () => {
    expect(say(new ReorderWitness(50), 0, 2, 1)).toEqual([
      "delivered 0",
      "held 2",
      "delivered 1",
      "released 2",
    ]);
  });

  it("reports frames that are released by the timeout", () => {
    const witness = new ReorderWitness(50);
    say(witness, 0, 2);
    expect(witness.expire(50)).toEqual([]);
    expect(witness.expire(51).map(words)).toEqual(["skipped 2 (1)", "released 2"]);
  });

  it("reports one result for each frame", () => {
    const numbers = fc.array(fc.integer({ min: 0, max: 300 }), { maxLength: 200 });
    fc.assert(
      fc.property(numbers, fc.integer({ min: 0, max: 20 }), (sent, timeoutMs) => {
        const witness = new ReorderWitness(timeoutMs);
        const said = sent.flatMap((sequence, index) => witness.offer(sequence, index + 1));
        said.push(...witness.expire(Number.POSITIVE_INFINITY));
        const count = (...kinds: string[]) =>
          said.filter(({ what }) => kinds.includes(what)).length;
        expect(count("delivered", "held", "dropped")).toBe(sent.length);
        expect(count("released")).toBe(count("held"));
      }),
    );
  });
});
