import fc from "fast-check";
import { expect, it } from "vitest";
import { LineSplitter, LineTooLongError } from "./lines.ts";

it("reassembles lines from chunks of any size", () => {
  const texts = fc.array(fc.string().map((text) => text.replaceAll("\n", "")));
  fc.assert(
    fc.property(texts, fc.integer({ min: 1, max: 7 }), (lines, step) => {
      const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(""));
      const splitter = new LineSplitter(10_000);
      const seen: string[] = [];
      for (let at = 0; at < bytes.length; at += step) {
        seen.push(...splitter.push(bytes.subarray(at, at + step)));
      }
      expect(seen).toEqual(lines.map((line) => Buffer.from(line).toString("utf8")));
    }),
  );
});

it("rejects a line above its bound, even if it is incomplete", () => {
  const splitter = new LineSplitter(8);
  expect(splitter.push(Buffer.from("12345678\n"))).toEqual(["12345678"]);
  splitter.push(Buffer.from("1234"));
  expect(() => splitter.push(Buffer.from("56789"))).toThrow(LineTooLongError);
});

it("does not refer to the caller's buffer", () => {
  const splitter = new LineSplitter(8);
  const chunk = Buffer.from("ab");
  splitter.push(chunk);
  chunk.fill(0);
  expect(splitter.push(Buffer.from("\n"))).toEqual(["ab"]);
});
