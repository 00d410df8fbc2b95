import { expect, it } from "vitest";
import { describeRemoteEndId, readRemoteEndId, writeRemoteEndId } from "./remote-end-id.ts";

it.each([
  [{ remoteEndIdOctets: "002a" }, "\u0000*", { remoteEndIdOctets: "002a" }, "0x002a"],
  [{ remoteEndIdOctets: "0XB3C5" }, "\u00b3\u00c5", { remoteEndIdOctets: "b3c5" }, "0xb3c5"],
  [{ remoteEndIdOctets: "6c616e" }, "lan", { remoteEndId: "lan" }, '"lan"'],
  [{ remoteEndId: "0x002a" }, "0x002a", { remoteEndId: "0x002a" }, '"0x002a"'],
])("reads %j, and writes it as it can be read", (fields, name, shown, words) => {
  expect(readRemoteEndId(fields)).toBe(name);
  expect(writeRemoteEndId(name)).toEqual(shown);
  expect(readRemoteEndId(shown)).toBe(name);
  expect(describeRemoteEndId(name)).toBe(words);
});

it("is none where no field is there", () => {
  expect(readRemoteEndId({})).toBeUndefined();
});
