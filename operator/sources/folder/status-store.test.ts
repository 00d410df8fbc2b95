import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ODD_FILES } from "../../../files/testdata.ts";
import { session, tunnel } from "../../../model/testdata.ts";
import { API_VERSION } from "../../api/types.ts";
import { refusedConditions, sessionStatus, tunnelStatus } from "../../resolve/status.ts";
import type { StatusInput } from "../source.ts";
import { StatusStore } from "./status-store.ts";

let folder: string;
let minute: number;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "status-"));
  minute = 0;
});

afterEach(() => rmSync(folder, { recursive: true }));

const open = () => new StatusStore(folder, () => new Date(Date.UTC(2026, 0, 1, 0, minute++)));
const path = (name: string) => join(folder, "status", name);
const read = (name: string) => JSON.parse(readFileSync(path(name), "utf8"));

const spec = { tunnelRef: { name: "t1" }, peerSessionId: 2 };
const metadata = { name: "s1", namespace: "default" };
const resolved = {
  object: { apiVersion: API_VERSION, kind: "L2tpSession", metadata, spec },
  session: session(),
  tunnel: tunnel(),
  pathMtu: 1500,
  mode: "Direct",
} as const;

function input(failures = new Map(), change: object = {}): StatusInput {
  const status = { ...sessionStatus(resolved, failures, []) };
  return { kind: "L2tpSession", key: "default/s1", spec: { ...spec, ...change }, status };
}

it("writes a status file for an object, and removes it with the object", () => {
  const store = open();
  expect(store.write([input()])).toEqual([]);
  expect(read("l2tpsession.default.s1.json")).toMatchObject({
    apiVersion: API_VERSION,
    metadata: { name: "s1", namespace: "default", generation: 1 },
    status: {
      sessionId: 1,
      mtu: 1446,
      observedGeneration: 1,
      conditions: [
        { type: "Accepted", status: "True", observedGeneration: 1 },
        { type: "Programmed", status: "True" },
        { type: "Attached", status: "False", reason: "NoPod" },
      ],
    },
  });
  expect(statSync(path("l2tpsession.default.s1.json")).mode & 0o777).toBe(0o600);
  store.write([]);
  expect(readdirSync(path("."))).toEqual([]);
});

it("does not write unchanged files, even across a restart", () => {
  open().write([input()]);
  const inode = () => statSync(path("l2tpsession.default.s1.json")).ino;
  const before = inode();
  const store = open();
  store.write([input()]);
  expect(inode()).toBe(before);
  store.write([input(new Map(), { mtu: 1400 })]);
  expect(inode()).not.toBe(before);
});

it("counts generations of the spec, and keeps the time of the last change of each condition", () => {
  const store = open();
  store.write([input()]);
  const failure = new Map([["session default/s1", { code: "EEXIST", message: "no" }]]);
  store.write([input(failure, { mtu: 1400 })]);
  const { metadata: seen, status } = read("l2tpsession.default.s1.json");
  expect(seen.generation).toBe(2);
  const [accepted, programmed] = status.conditions;
  expect(accepted).toMatchObject({ status: "True", observedGeneration: 2 });
  expect(programmed).toMatchObject({ status: "False", reason: "NameInUse" });
  expect(programmed.message).toContain("rename or delete it");
  expect(programmed.lastTransitionTime > accepted.lastTransitionTime).toBe(true);
});

it("replaces a truncated file", () => {
  open().write([input()]);
  writeFileSync(path("l2tpsession.default.s1.json"), '{"apiVersion": "l2');
  open().write([input()]);
  expect(read("l2tpsession.default.s1.json").status.sessionId).toBe(1);
});

describe.each(ODD_FILES)("%s", (_what, make) => {
  it("in place of a status file is replaced, and affects no other file", () => {
    const other = { ...input(), key: "default/s2" };
    open().write([input(), other]);
    make(path("l2tpsession.default.s1.json"));
    const store = open();
    expect(store.conditionsOf("L2tpSession", "default/s1")).toEqual([]);
    expect(store.conditionsOf("L2tpSession", "default/s2")).toHaveLength(3);
    expect(store.write([input(), other])).toEqual([]);
    expect(read("l2tpsession.default.s1.json").status.sessionId).toBe(1);
  });

  it("that appears while the agent runs is replaced by the next write", () => {
    const store = open();
    store.write([input()]);
    make(path("l2tpsession.default.s1.json"));
    expect(store.write([input()])).toEqual([]);
    expect(read("l2tpsession.default.s1.json").status.sessionId).toBe(1);
  });

  it("left by an interrupted write is removed, or does not matter", () => {
    mkdirSync(path("."));
    make(path("l2tpsession.default.s1.json.new"));
    const store = open();
    expect(store.write([input()])).toEqual([]);
    expect(readdirSync(path(".")).filter((name) => !name.includes("aside"))).toEqual([
      "l2tpsession.default.s1.json",
    ]);
  });

  it("of a deleted object is removed, unless it is a directory", () => {
    mkdirSync(path("."));
    make(path("l2tpsession.default.gone.json"));
    const isDirectory = lstatSync(path("l2tpsession.default.gone.json")).isDirectory();
    open().write([]);
    expect(readdirSync(path("."))).toHaveLength(isDirectory ? 1 : 0);
  });

  it("in place of the status folder is moved aside", () => {
    make(path("."));
    if (lstatSync(path(".")).isDirectory()) return;
    const store = open();
    expect(store.write([input()])).toEqual([]);
    expect(read("l2tpsession.default.s1.json").status.sessionId).toBe(1);
  });
});

it.each<[string, object]>([
  ["metadata", {}],
  ["metadata", { generation: "1" }],
  ["metadata", { generation: -1 }],
  ["specDigest", {}],
  ["status", {}],
  ["status", { conditions: [null] }],
  ["status", { conditions: [{ type: "Accepted" }] }],
])("ignores a file whose %s is %j", (field, value) => {
  open().write([input()]);
  const name = "l2tpsession.default.s1.json";
  writeFileSync(path(name), JSON.stringify({ ...read(name), [field]: value }));
  const store = open();
  expect(store.conditionsOf("L2tpSession", "default/s1")).toEqual([]);
  expect(store.write([input()])).toEqual([]);
  expect(read(name)).toMatchObject({ metadata: { generation: 1 }, status: { sessionId: 1 } });
});

it("returns the conditions even if the folder cannot be written", () => {
  rmSync(folder, { recursive: true });
  writeFileSync(folder, "x");
  const store = open();
  expect(store.write([input()])).toHaveLength(1);
  expect(store.conditionsOf("L2tpSession", "default/s1")).toHaveLength(3);
  rmSync(folder);
  expect(store.write([input()])).toEqual([]);
});

it("reports a tunnel without a route as programmed, with the reason NoRoute", () => {
  const object = { apiVersion: API_VERSION, kind: "L2tpTunnel", metadata: { name: "t1" } } as const;
  const whole = { ...object, spec: { nodeName: "n" } } as never;
  const made = { object: whole, tunnel: tunnel(), notInKernel: null, underlayMtu: 1500 };
  const conditions = (noRoute: string | null) =>
    tunnelStatus({ ...made, noRoute }, new Map()).conditions[1];
  expect(conditions(null)).toMatchObject({ status: "True", reason: "Programmed" });
  expect(conditions("no route to 192.0.2.2 (ENETUNREACH)")).toMatchObject({
    status: "True",
    reason: "NoRoute",
    message: expect.stringContaining("ENETUNREACH"),
  });
});

it("reports whether the previous version of a refused object stays programmed", () => {
  const refusal = { condition: "Accepted", reason: "Invalid", message: "It cannot be." } as const;
  expect(refusedConditions(refusal, false)).toMatchObject([
    { type: "Accepted", status: "False", reason: "Invalid" },
    { type: "Programmed", status: "False", reason: "NotAccepted" },
  ]);
  expect(refusedConditions(refusal, true)[1]).toMatchObject({
    reason: "Stale",
    message: "It cannot be. The previous version stays programmed.",
  });
});
