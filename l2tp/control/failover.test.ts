import { describe, expect, it } from "vitest";
import { choosePath, type PathView } from "./failover.ts";

const up = (carrying: number): PathView => ({ isUp: true, carrying });
const DOWN: PathView = { isUp: false, carrying: 0 };

describe("who carries a tunnel's frames", () => {
  it.each<[string, PathView[], number, number]>([
    ["the first, as long as it is there", [up(2), up(2)], 0, 0],
    ["the first, though its peer has nobody attached", [up(0), up(2)], 0, 0],
    ["the next, when it is gone", [DOWN, up(2), up(2)], 0, 1],
    ["the one that carries more", [DOWN, up(1), up(2)], 0, 2],
    ["one that is there, though nothing is established yet", [DOWN, up(0), DOWN], 0, 1],
    ["the one before, while nobody is there", [DOWN, DOWN, DOWN], 1, 1],
    ["the first again, when it carries as much", [up(2), up(2)], 1, 0],
    ["the backup, until the first carries as much", [up(1), up(2)], 1, 1],
    ["the second rather than the third, when it is back", [DOWN, up(2), up(2)], 2, 1],
    ["the first that is left in a shorter list", [up(1)], 3, 0],
  ])("%s", (_, paths, active, chosen) => {
    expect(choosePath(paths, active)).toBe(chosen);
  });
});
