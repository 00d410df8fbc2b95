import { expect, it } from "vitest";
import { LineBudget } from "./line-budget.ts";

it("shows a limited number a second, and counts the others by their words", () => {
  const budget = new LineBudget(2);
  const spent = ["held", "held", "dropped", "held"].map((words) => budget.spend(words));
  expect(spent).toEqual([true, true, false, false]);
  budget.leaveOut(5);
  budget.leaveOut(0, "nothing");
  expect([...budget.turn()]).toEqual([
    ["dropped", 1],
    ["held", 1],
    ["", 5],
  ]);
  expect([...budget.turn()]).toEqual([]);
  expect(budget.spend()).toBe(true);
});
