import { describe, expect, it } from "vitest";
import type { OrderDecision } from "../../l2tp/order-witness.ts";
import { KernelOrderWitness } from "./order-witness.ts";

const words = ({ what, sequence }: OrderDecision) => `${what} ${sequence}`;
const say = (witness: KernelOrderWitness, ...numbers: number[]) =>
  numbers.flatMap((sequence) => witness.offer(sequence, 1)).map(words);

describe("without reordering", () => {
  it("drops frames out of order until the sixth number of a run", () => {
    expect(say(new KernelOrderWitness(0), 1, 3, 4, 5, 6, 7, 8, 9)).toEqual([
      "delivered 1",
      ...[3, 4, 5, 6, 7].map((sequence) => `dropped ${sequence}`),
      "restart 8",
      "delivered 8",
      "delivered 9",
    ]);
  });

  it("counts each run from its first number", () => {
    const said = say(new KernelOrderWitness(0), 1, 3, 4, 5, 7, 8, 9, 10, 11, 12);
    expect(said.filter((line) => line.startsWith("dropped"))).toHaveLength(8);
    expect(said.at(-1)).toBe("delivered 12");
  });

  it("never follows numbers behind the expected one", () => {
    const numbers = Array.from({ length: 100 }, (_, sequence) => sequence);
    const said = say(new KernelOrderWitness(0), 5000, ...numbers);
    expect(said).toEqual(["delivered 5000", ...numbers.map((sequence) => `dropped ${sequence}`)]);
  });

  it("continues when numbers wrap around", () => {
    expect(say(new KernelOrderWitness(0), 0xff_ffff, 0, 1)).toEqual([
      "delivered 16777215",
      "delivered 0",
      "delivered 1",
    ]);
  });
});

describe("with reordering", () => {
  it("puts frames back in order", () => {
    expect(say(new KernelOrderWitness(100), 0, 2, 3, 1, 4)).toEqual([
      "delivered 0",
      "held 2",
      "held 3",
      "delivered 1",
      "released 2",
      "released 3",
      "delivered 4",
    ]);
  });

  it("drops a frame that waited too long when the next one arrives, and continues with that", () => {
    const witness = new KernelOrderWitness(100);
    say(witness, 0, 2);
    expect(witness.expire()).toEqual([]);
    expect(witness.offer(3, 102).map(words)).toEqual(["dropped 2", "restart 3", "delivered 3"]);
  });
});
