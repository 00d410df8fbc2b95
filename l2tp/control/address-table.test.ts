import { expect, it } from "vitest";
import { parseAddress } from "../../net/ip.ts";
import { Random } from "../testing/random.ts";
import { AddressTable } from "./address-table.ts";

const bytes = (address: string) => parseAddress(address) ?? new Uint8Array();
const find = <T>(table: AddressTable<T>, address: Uint8Array) =>
  table.find(Uint8Array.from([1, 2, ...address, 3]), 2, address.length);

it("finds an address anywhere in a buffer", () => {
  const table = new AddressTable<string>();
  for (const address of ["192.0.2.1", "192.0.2.2", "2001:db8::1", "::"]) {
    table.set(bytes(address), address);
  }
  expect(find(table, bytes("192.0.2.2"))).toBe("192.0.2.2");
  expect(find(table, bytes("2001:db8::1"))).toBe("2001:db8::1");
  expect(find(table, bytes("192.0.2.3"))).toBeUndefined();
  table.delete(bytes("192.0.2.2"));
  expect(find(table, bytes("192.0.2.2"))).toBeUndefined();
  expect(find(table, bytes("192.0.2.1"))).toBe("192.0.2.1");
});

it("behaves like a map, also with hash collisions", () => {
  const table = new AddressTable<string>();
  const known = new Map<string, Uint8Array>();
  const random = new Random(5);
  // 31 times the first byte and the second one: many pairs have one key.
  const any = () => Uint8Array.from([random.pick([0, 1, 2]), random.pick([0, 31, 62, 93]), 0, 0]);
  for (let i = 0; i < 2000; i++) {
    const address = any();
    const name = address.join(".");
    if (known.has(name)) {
      table.delete(address);
      known.delete(name);
    } else {
      table.set(address, name);
      known.set(name, address);
    }
    const asked = any();
    expect(find(table, asked)).toBe(known.has(asked.join(".")) ? asked.join(".") : undefined);
  }
});
