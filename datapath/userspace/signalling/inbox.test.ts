import { expect, it } from "vitest";
import { Inbox } from "./inbox.ts";

it("serves senders in turn, and keeps the order of each", () => {
  const inbox = new Inbox<string, string>();
  for (const message of ["a1", "a2", "a3", "b1", "c1", "c2"]) inbox.put(message[0] ?? "", message);
  const taken = Array.from({ length: 7 }, () => inbox.take());
  expect(taken).toEqual(["a1", "b1", "c1", "a2", "c2", "a3", undefined]);
  expect(inbox.isEmpty).toBe(true);
});

it("limits each sender's messages, independent of others", () => {
  const inbox = new Inbox<string, number>();
  let waiting = 0;
  while (inbox.hasRoom("a")) inbox.put("a", waiting++);
  // A peer's window is 8.
  expect(waiting).toBeGreaterThan(16);
  expect(waiting).toBeLessThan(1000);
  expect(inbox.hasRoom("b")).toBe(true);
  inbox.put("b", -1);
  expect([inbox.take(), inbox.take()]).toEqual([0, -1]);
  expect(inbox.hasRoom("a")).toBe(true);
});
