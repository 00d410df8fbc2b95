import { describe, expect, it } from "vitest";
import { choosePath, type PathView } from "./failover.ts";

const HOLD_MS = 1000;
const up = (carrying: number, change: Partial<PathView> = {}): PathView => ({
  isUp: true,
  upMs: 10 * HOLD_MS,
  carrying,
  pending: 0,
  ...change,
});
const fresh = (carrying: number) => up(carrying, { upMs: 1 });
const DOWN: PathView = { isUp: false, upMs: 0, carrying: 0, pending: 0 };

describe("who carries a tunnel's frames", () => {
  it.each<[string, PathView[], number, number]>([
    ["the first, as long as it carries", [up(2), up(2)], 0, 0],
    ["the first, though another carries more", [up(1), up(2)], 0, 0],
    ["the first, while its sessions are agreed on anew", [up(0, { pending: 2 }), up(2)], 0, 0],
    ["the next, when the first carries nothing", [up(0), up(2)], 0, 1],
    ["the next, when it is gone", [DOWN, up(2), up(2)], 0, 1],
    ["the one that carries more", [DOWN, up(1), up(2)], 0, 2],
    ["one that is there, though nothing is established yet", [DOWN, up(0), DOWN], 0, 1],
    ["the one before, while nobody is there", [DOWN, DOWN, DOWN], 1, 1],
    ["the third, when the second turns out to carry nothing", [DOWN, up(0), up(2)], 1, 2],
    ["the first again, when it carries as much", [up(2), up(2)], 1, 0],
    ["the first again, of a tunnel without sessions", [up(0), up(0)], 1, 0],
    ["the backup, until the first carries as much", [up(1), up(2)], 1, 1],
    ["the backup, until the first has been there for a while", [fresh(2), up(2)], 1, 1],
    ["the first at once, when the backup has only begun, too", [fresh(2), fresh(2)], 1, 0],
    ["the second rather than the third, when it is back", [DOWN, up(2), up(2)], 2, 1],
  ])("%s", (_, paths, active, chosen) => {
    expect(choosePath(paths, active, HOLD_MS)).toBe(chosen);
  });
});
