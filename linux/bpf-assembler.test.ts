import { expect, it } from "vitest";
import { Assembler, R0, R1, R2, R6, R10, reg } from "./bpf-assembler.ts";

const hex = (assembler: Assembler): string => Buffer.from(assembler.finish()).toString("hex");

// Encoded by hand from the tables of RFC 9669.
it.each<[string, (a: Assembler) => Assembler, string]>([
  ["r0 = -1", (a) => a.alu("mov", R0, -1), "b7000000ffffffff"],
  ["r6 = r1", (a) => a.alu("mov", R6, reg(R1)), "bf16000000000000"],
  ["w1 += 7", (a) => a.alu32("add", R1, 7), "0401000007000000"],
  ["r1 = be16 r1", (a) => a.toNetworkOrder(R1, 16), "dc01000010000000"],
  ["r2 = *(u32 *)(r1 + 16)", (a) => a.load("u32", R2, R1, 16), "6112100000000000"],
  ["*(u16 *)(r10 - 8) = r2", (a) => a.store("u16", R10, -8, reg(R2)), "6b2af8ff00000000"],
  ["*(u64 *)(r10 - 16) = 0", (a) => a.store("u64", R10, -16, 0), "7a0af0ff00000000"],
  ["lock *(u64 *)(r0 + 8) += r1", (a) => a.atomicAdd(R0, 8, R1), "db10080000000000"],
  ["r1 = map_by_fd(5)", (a) => a.loadMap(R1, 5), "18110000050000000000000000000000"],
  ["call 26; exit", (a) => a.call(26).exit(), "850000001a0000009500000000000000"],
])("%s", (_text, write, bytes) => expect(hex(write(new Assembler()))).toBe(bytes));

it("jumps forward, over instructions of any width", () => {
  const a = new Assembler();
  a.jumpIf(R1, "gt", reg(R2), "end").jump("end").loadMap(R1, 3).label("end").exit();
  expect(hex(a)).toBe(
    "2d21030000000000" +
      "0500020000000000" +
      "1811000003000000" +
      "00".repeat(8) +
      "95" +
      "00".repeat(7),
  );
});

it("rejects labels that are missing, defined twice or behind their jump", () => {
  expect(() => new Assembler().jump("nowhere").finish()).toThrow("no label nowhere");
  expect(() => new Assembler().label("x").label("x")).toThrow("duplicate label x");
  expect(() => new Assembler().label("x").jump("x").finish()).toThrow("is behind its jump");
});
