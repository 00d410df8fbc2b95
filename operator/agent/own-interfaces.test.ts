import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { NetlinkSocket } from "../../linux/netlink/socket.ts";
import { OwnInterfaces } from "./own-interfaces.ts";

const SOCKET = {} as NetlinkSocket;
const NONE = () => false;
let folder: string;
const path = () => join(folder, "interfaces.json");
const open = () => new OwnInterfaces(folder, SOCKET);
const wanted = (name: string, addresses: string[] = []) =>
  new Map([["shop/lan", { name, addresses }]]);

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "l2tp-own-"));
});

afterEach(() => rmSync(folder, { recursive: true }));

it("remembers the name and the previous name after a restart", () => {
  open().record(wanted("edge0", ["10.0.0.1/24"]), NONE);
  expect(open().isNamed("shop/lan", "edge0")).toBe(true);
  expect(open().isNamed("shop/lan", "eth0")).toBe(false);
  expect(open().isNamed("shop/other", "edge0")).toBe(false);
  open().record(wanted("edge1"), NONE);
  expect(open().isNamed("shop/lan", "edge0")).toBe(true);
  expect(open().isNamed("shop/lan", "edge1")).toBe(true);
  // The address is not removed yet.
  expect(readFileSync(path(), "utf8")).toContain("10.0.0.1/24");
});

it("forgets interfaces of deleted sessions, but not of retained ones", () => {
  open().record(wanted("edge0"), NONE);
  open().record(new Map(), (key) => key === "shop/lan");
  expect(open().isNamed("shop/lan", "edge0")).toBe(true);
  open().record(new Map(), NONE);
  expect(open().isNamed("shop/lan", "edge0")).toBe(false);
});

it.each(["", "[", "7", "null", '{"shop/lan": 7}', '{"shop/lan": {"name": 7, "addresses": []}}'])(
  "starts empty with a file that contains %s",
  (text) => {
    writeFileSync(path(), text);
    expect(open().isNamed("shop/lan", "edge0")).toBe(false);
    open().record(wanted("edge0"), NONE);
    expect(open().isNamed("shop/lan", "edge0")).toBe(true);
  },
);

it("sets aside a directory at the path of its file", () => {
  mkdirSync(path());
  open().record(wanted("edge0"), NONE);
  expect(open().isNamed("shop/lan", "edge0")).toBe(true);
});
