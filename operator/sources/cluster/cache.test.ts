import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { ODD_FILES } from "../../../files/testdata.ts";
import { Cache, type Cached } from "./cache.ts";

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "cache-"));
  path = join(folder, "cache.json");
});

afterEach(() => rmSync(folder, { recursive: true }));

const content = { kind: "L2tpTunnel", metadata: { name: "t", uid: "1" }, spec: {} };
const cached: Cached = {
  nodeName: "n1",
  documents: [{ origin: "L2tpTunnel t", content, isFromApi: true }],
  secrets: [["shop/lan", { data: { rx: "a1b2c3d4" }, problem: null }]],
};

it("returns the saved objects to the same node only", () => {
  new Cache(path).save(cached);
  expect(new Cache(path).load("n1")).toEqual(cached);
  expect(new Cache(path).load("n2")).toBeNull();
});

it.each(ODD_FILES)("ignores %s, and replaces it", (_what, make) => {
  make(path);
  const cache = new Cache(path);
  expect(cache.load("n1")).toBeNull();
  cache.save(cached);
  expect(new Cache(path).load("n1")).toEqual(cached);
  cache.remove();
  expect(readdirSync(folder)).not.toContain("cache.json");
});

it.each<[string, unknown]>([
  ["documents", undefined],
  ["documents", {}],
  ["documents", [null]],
  ["documents", [{ origin: "L2tpTunnel t", content: {} }]],
  ["documents", [{ origin: 1, content }]],
  ["documents", [{ origin: "L2tpTunnel t", content: { ...content, spec: null } }]],
  ["secrets", undefined],
  ["secrets", [["shop/lan", null]]],
  ["secrets", [["shop/lan", { data: { rx: 1 }, problem: null }]]],
  ["secrets", [["shop/lan", { data: 1, problem: null }]]],
])("ignores a file whose %s is %j", (field, value) => {
  writeFileSync(path, JSON.stringify({ ...cached, [field]: value }));
  expect(new Cache(path).load("n1")).toBeNull();
});
