import { expect, it } from "vitest";
import { describeRejection, takeIn } from "./intake.ts";

const tunnel = (change: object = {}, spec: object = {}) => ({
  apiVersion: "l2tp.dev/v1alpha1",
  kind: "L2tpTunnel",
  metadata: { name: "branch" },
  spec: {
    nodeName: "n",
    encapsulation: "UDP",
    remote: { address: "192.0.2.2" },
    peerTunnelId: 1,
    ...spec,
  },
  ...change,
});
const session = (change: object = {}, spec: object = {}) => ({
  apiVersion: "l2tp.dev/v1alpha1",
  kind: "L2tpSession",
  metadata: { name: "lan" },
  spec: { tunnelRef: { name: "branch" }, peerSessionId: 1, ...spec },
  ...change,
});

const take = (...contents: unknown[]) =>
  takeIn(contents.map((content, index) => ({ origin: `file ${index}`, content })));

it("takes objects with their defaults, and passes over empty documents", () => {
  const { tunnels, sessions, rejections } = take(tunnel(), null, undefined, session());
  expect(rejections).toEqual([]);
  expect([...tunnels.keys(), ...sessions.keys()]).toEqual(["branch", "default/lan"]);
  expect(sessions.get("default/lan")?.spec).toMatchObject({ attachment: { mode: "Direct" } });
});

it("leaves the documents as they were", () => {
  const content = session();
  take(content);
  expect(content).toEqual(session());
});

it("counts the first of two with the same name, and says where it is", () => {
  const second = session({}, { peerSessionId: 2 });
  const { sessions, rejections } = take(session(), second);
  expect(sessions.get("default/lan")?.spec.peerSessionId).toBe(1);
  expect(rejections.map(describeRejection)).toEqual([
    'file 1 (L2tpSession default/lan): metadata.name "default/lan": defined already in file 0; keep one of them',
  ]);
  // Of another namespace it is another one.
  const other = session({ metadata: { name: "lan", namespace: "shop" } });
  expect(take(session(), other).rejections).toEqual([]);
});

it.each<[string, unknown, RegExp]>([
  ["text", "hello", /not a kind of l2tp\.dev/],
  ["a list", [], /not a kind of l2tp\.dev/],
  [
    "another kind",
    { apiVersion: "v1", kind: "Pod", metadata: { name: "x" } },
    /\(Pod x\).*keep other/,
  ],
  [
    "another version",
    tunnel({ apiVersion: "l2tp.dev/v2" }),
    /"l2tp\.dev\/v2".*use l2tp\.dev\/v1alpha1/,
  ],
  ["no spec", tunnel({ spec: undefined }), /spec: missing/],
  [
    "a field too many",
    tunnel({}, { nodename: "n" }),
    /spec\.nodename: no such field; there are .*nodeName/,
  ],
  ["a field too few", session({}, { tunnelRef: undefined }), /spec\.tunnelRef: missing/],
  [
    "a wrong type",
    tunnel({}, { peerTunnelId: "7" }),
    /spec\.peerTunnelId "7": not of type integer/,
  ],
  [
    "a wrong value",
    tunnel({}, { encapsulation: "TCP" }),
    /spec\.encapsulation "TCP".*one of UDP, IP/,
  ],
  ["an id of 0", session({}, { sessionId: 0 }), /spec\.sessionId 0/],
  ["an id above 32 bits", session({}, { sessionId: 2 ** 32 }), /spec\.sessionId 4294967296/],
  [
    "a name that leads elsewhere",
    tunnel({ metadata: { name: "../x" } }),
    /metadata\.name "\.\.\/x"/,
  ],
  ["a tunnel in a namespace", tunnel({ metadata: { name: "x", namespace: "y" } }), /no namespaces/],
  [
    "a namespace that is none",
    session({ metadata: { name: "x", namespace: "A b" } }),
    /metadata\.namespace/,
  ],
])("rejects %s, and goes on", (_what, content, message) => {
  const { tunnels, rejections } = take(content, tunnel({ metadata: { name: "good" } }));
  expect(rejections.map(describeRejection).join("\n")).toMatch(message);
  expect([...tunnels.keys()]).toEqual(["good"]);
});

it("reports every bad field at once, and no cookie", () => {
  const content = session(
    {},
    {
      sessionId: 0,
      mtuu: 1,
      cookies: { receive: { value: 12345678 }, transmit: { valeu: "a1b2c3d4" } },
    },
  );
  const [rejection] = take(content).rejections;
  const text = rejection === undefined ? "" : describeRejection(rejection);
  expect(text).toMatch(/spec\.sessionId.*spec\.|spec\.mtuu/);
  expect(rejection?.problems.length).toBeGreaterThanOrEqual(4);
  expect(text).toMatch(/cookies\.receive\.value: not of type string; a string, in quotes/);
  expect(text).not.toContain("12345678");
  expect(text).not.toContain("a1b2c3d4");
});
