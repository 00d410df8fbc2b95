import {
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { ODD_FILES } from "../../files/testdata.ts";
import { ConnectionError } from "../../rpc/errors.ts";
import type { DeferredRequest } from "../agent-protocol.ts";
import { DeferredRequests } from "./deferred.ts";

let folder: string;
let done: DeferredRequest[];
let failed: string[];
let dropped: string[];
let fail: ((request: DeferredRequest) => Error | null) | null;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "deferred-"));
  [done, failed, dropped, fail] = [[], [], [], null];
});

afterEach(() => rmSync(folder, { recursive: true }));

const open = (...folders: string[]) =>
  new DeferredRequests([folder, ...folders], {
    async carryOut(request) {
      const error = fail?.(request) ?? null;
      if (error !== null) throw error;
      done.push(request);
    },
    failed: (_path, error) => void failed.push((error as Error).message),
    dropped: (_path, error) => void dropped.push((error as Error).message),
  });

const detach = (containerId: string): DeferredRequest => ({
  op: "detach",
  containerId,
  cniIfname: "net1",
  netns: null,
});

const write = (name: string, request: unknown, where = folder) =>
  writeFileSync(join(where, name), JSON.stringify(request));

it("carries out all requests, the oldest first, also from the folder of earlier versions", async () => {
  const former = join(folder, "former");
  mkdirSync(former);
  write("2-1.json", detach("c2"));
  write("1-1.json", detach("c1"));
  write("1-1.json", detach("c3"), former);
  await open(former).carryOut();
  expect(done).toEqual([detach("c1"), detach("c2"), detach("c3")]);
  expect(readdirSync(folder)).toEqual(["former"]);
});

it.each(ODD_FILES)("skips %s and goes on", async (_what, make) => {
  make(join(folder, "1.json"));
  write("2.json", detach("c2"));
  const requests = open();
  await requests.carryOut();
  expect(done).toEqual([detach("c2")]);
  expect(dropped).toHaveLength(1);
  await requests.carryOut();
  expect(dropped).toHaveLength(1);
});

it.skipIf(process.geteuid?.() !== 0)("drops a file of another user", async () => {
  write("1.json", detach("c1"));
  chownSync(join(folder, "1.json"), 1000, 1000);
  await open().carryOut();
  expect([done, dropped]).toEqual([[], ["another user owns it"]]);
});

it("drops a request that cannot be deferred", async () => {
  write("1.json", { op: "ready" });
  await open().carryOut();
  expect(dropped).toEqual(["a request ready cannot be deferred"]);
});

it("keeps a failed request, continues with the others, and reports its DEL as pending", async () => {
  write("1.json", detach("c1"));
  write("2.json", detach("c2"));
  fail = (request) =>
    request.op === "detach" && request.containerId === "c1" ? new Error("no") : null;
  const requests = open();
  await requests.carryOut();
  expect([done, failed]).toEqual([[detach("c2")], ["no"]]);
  expect(requests.isLeaving({ containerId: "c1", cniIfname: "net1" })).toBe(true);
  expect(requests.isLeaving({ containerId: "c2", cniIfname: "net1" })).toBe(false);
  fail = null;
  await requests.carryOut();
  expect(requests.isLeaving({ containerId: "c1", cniIfname: "net1" })).toBe(false);
  expect(readdirSync(folder)).toEqual([]);
});

it("tries one request, not each, while the datapath does not answer", async () => {
  for (const name of ["1", "2", "3"]) write(`${name}.json`, detach(`c${name}`));
  let asked = 0;
  fail = () => {
    asked++;
    return new ConnectionError("ETIMEDOUT", "no answer");
  };
  const requests = open();
  await requests.carryOut();
  expect(asked).toBe(1);
  expect(requests.isLeaving({ containerId: "c3", cniIfname: "net1" })).toBe(true);
});

it("removes unfinished files that are old, and keeps recent ones", async () => {
  write("1.json.new", {});
  write("2.json.new", {});
  utimesSync(join(folder, "1.json.new"), 0, 0);
  await open().carryOut();
  expect(readdirSync(folder)).toEqual(["2.json.new"]);
});
