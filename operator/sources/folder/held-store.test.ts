import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { HeldObjects } from "../../resolve/held.ts";
import { NOTHING_HELD } from "../../resolve/held.ts";
import { HeldStore } from "./held-store.ts";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "l2tp-held-"));
});

afterEach(() => rmSync(folder, { recursive: true }));

const since = "2026-01-01T00:00:00Z";
const HELD: HeldObjects = {
  tunnels: new Map([["branch", { claims: ["tunnel ID 1"], since, id: 1, datapath: "Kernel" }]]),
  sessions: new Map([
    ["shop/lan", { claims: [], since, id: 7, remoteEndId: "shop/lan", isRefused: true }],
  ]),
};

function writeStatus(name: string, content: unknown): void {
  mkdirSync(join(folder, "status"), { recursive: true });
  const text = typeof content === "string" ? content : JSON.stringify(content);
  writeFileSync(join(folder, "status", `${name}.json`), text);
}

function statusFile(kind: string, namespace: string | undefined, accepted: string, rest: object) {
  const conditions = [{ type: "Accepted", status: accepted, lastTransitionTime: since }];
  return { kind, metadata: { name: "lan", namespace }, status: { ...rest, conditions } };
}

it("stores claims over a restart", () => {
  expect(new HeldStore(folder).held).toEqual(NOTHING_HELD);
  expect(new HeldStore(folder).write(HELD)).toBeNull();
  expect(new HeldStore(folder).held).toEqual(HELD);
});

it("reads the claims of an older agent from status files, with the name as Remote End ID", () => {
  writeStatus("a", statusFile("L2tpTunnel", undefined, "True", { tunnelId: 5 }));
  writeStatus("b", statusFile("L2tpSession", "shop", "True", { sessionId: 7 }));
  writeStatus("c", statusFile("L2tpSession", "bakery", "False", {}));
  writeStatus("d", '{"kind": "L2tpSess');
  writeStatus("e", [1, null]);
  const store = new HeldStore(folder);
  const expected: HeldObjects = {
    tunnels: new Map([["lan", { claims: null, since, id: 5 }]]),
    sessions: new Map([["shop/lan", { claims: null, since, id: 7, remoteEndId: "lan" }]]),
  };
  expect(store.held).toEqual(expected);
  // Only once: sessions that were accepted later have namespace/name.
  store.write(NOTHING_HELD);
  expect(new HeldStore(folder).held).toEqual(NOTHING_HELD);
});

it.each(["", "{", "null", "[]", '{"tunnels": []}', '{"tunnels": {}, "sessions": 1}'])(
  "ignores the file %j, and uses the Remote End IDs of status files",
  (text) => {
    writeFileSync(join(folder, "held.json"), text);
    writeStatus("a", statusFile("L2tpSession", "shop", "True", { remoteEndId: "42" }));
    writeStatus("o", statusFile("L2tpSession", "octets", "True", { remoteEndIdOctets: "002a" }));
    writeStatus("b", statusFile("L2tpSession", "bakery", "True", {}));
    const { sessions } = new HeldStore(folder).held;
    expect(sessions.get("shop/lan")).toEqual({ claims: null, since, remoteEndId: "42" });
    expect(sessions.get("octets/lan")).toEqual({ claims: null, since, remoteEndId: "\u0000*" });
    expect(sessions.get("bakery/lan")).toEqual({ claims: null, since });
  },
);

it.each([
  null,
  1,
  {},
  { claims: 1, since },
  { claims: [1], since },
  { claims: [], since, id: "7" },
])("ignores an invalid entry: %j", (entry) => {
  const content = { tunnels: { x: entry }, sessions: Object.fromEntries(HELD.sessions) };
  writeFileSync(join(folder, "held.json"), JSON.stringify(content));
  const { tunnels, sessions } = new HeldStore(folder).held;
  expect(tunnels.size).toBe(0);
  expect(sessions).toEqual(HELD.sessions);
});

it("returns the error if it cannot write, and writes the next time", () => {
  const store = new HeldStore(folder);
  rmSync(folder, { recursive: true });
  writeFileSync(folder, "");
  expect(store.write(HELD)).toBeInstanceOf(Error);
  expect(store.held).toBe(HELD);
  rmSync(folder);
  mkdirSync(folder);
  // A directory of the same name is moved aside.
  mkdirSync(join(folder, "held.json"));
  expect(store.write(HELD)).toBeNull();
  expect(readFileSync(join(folder, "held.json"), "utf8")).toContain("shop/lan");
});
