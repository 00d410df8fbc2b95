import fc from "fast-check";
import { expect, it } from "vitest";
import { Deadlines } from "./deadlines.ts";

it("knows the earliest deadline after each change", () => {
  const step = fc.record({
    item: fc.integer({ min: 0, max: 20 }),
    at: fc.option(fc.oneof(fc.integer({ min: 0, max: 50 }), fc.constant(Number.POSITIVE_INFINITY))),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const deadlines = new Deadlines<number>();
      const model = new Map<number, number>();
      for (const { item, at } of steps) {
        if (at === null) {
          deadlines.delete(item);
          model.delete(item);
        } else {
          deadlines.set(item, at);
          model.set(item, at);
        }
        expect(deadlines.earliest).toBe(Math.min(...model.values()));
        const { first } = deadlines;
        expect(first === undefined ? undefined : model.get(first)).toBe(
          model.size === 0 ? undefined : deadlines.earliest,
        );
      }
    }),
  );
});
