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

describe("the active remote is", () => {
  it.each<[string, PathView[], number, number]>([
    ["the first, while it has active circuits", [up(2), up(2)], 0, 0],
    ["the first, although another has more active circuits", [up(1), up(2)], 0, 0],
    ["the first, while its sessions are renegotiated", [up(0, { pending: 2 }), up(2)], 0, 0],
    ["the next, if the first has no active circuits", [up(0), up(2)], 0, 1],
    ["the next, if the first is down", [DOWN, up(2), up(2)], 0, 1],
    ["the one with more active circuits", [DOWN, up(1), up(2)], 0, 2],
    ["an established one, although no session is established yet", [DOWN, up(0), DOWN], 0, 1],
    ["the previous one, while all are down", [DOWN, DOWN, DOWN], 1, 1],
    ["the third, if the second has no active circuits", [DOWN, up(0), up(2)], 1, 2],
    ["the first again, if it has as many active circuits", [up(2), up(2)], 1, 0],
    ["the first again, of a tunnel without sessions", [up(0), up(0)], 1, 0],
    ["the backup, until the first has as many active circuits", [up(1), up(2)], 1, 1],
    ["the backup, until the first has been up for the hold time", [fresh(2), up(2)], 1, 1],
    ["the first at once, if the backup has just come up, too", [fresh(2), fresh(2)], 1, 0],
    ["the second rather than the third, if it is up again", [DOWN, up(2), up(2)], 2, 1],
  ])("%s", (_, paths, active, chosen) => {
    expect(choosePath(paths, active, HOLD_MS)).toBe(chosen);
  });
});
