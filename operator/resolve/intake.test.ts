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

it("returns objects with their defaults, and skips empty documents", () => {
  const { tunnels, sessions, rejections } = take(tunnel(), null, undefined, session());
  expect(rejections).toEqual([]);
  expect([...tunnels.keys(), ...sessions.keys()]).toEqual(["branch", "default/lan"]);
  expect(sessions.get("default/lan")?.spec).toMatchObject({ attachment: { mode: "Direct" } });
});

it("does not change the documents", () => {
  const content = session();
  take(content);
  expect(content).toEqual(session());
});

it("accepts the first of two objects with the same name, and names its source", () => {
  const second = session({}, { peerSessionId: 2 });
  const { sessions, rejections } = take(session(), second);
  expect(sessions.get("default/lan")?.spec.peerSessionId).toBe(1);
  expect(rejections.map(describeRejection)).toEqual([
    'file 1 (L2tpSession default/lan): metadata.name: "default/lan": already defined in file 0; delete one of the two',
  ]);
  // An object in another namespace is another object.
  const other = session({ metadata: { name: "lan", namespace: "shop" } });
  expect(take(session(), other).rejections).toEqual([]);
});

it.each<[string, unknown, RegExp]>([
  ["text", "hello", /not a kind of l2tp\.dev/],
  ["a list", [], /not a kind of l2tp\.dev/],
  [
    "another kind",
    { apiVersion: "v1", kind: "Pod", metadata: { name: "x" } },
    /\(Pod x\).*move it out/,
  ],
  [
    "another version",
    tunnel({ apiVersion: "l2tp.dev/v2" }),
    /"l2tp\.dev\/v2".*use l2tp\.dev\/v1alpha1/,
  ],
  ["no spec", tunnel({ spec: undefined }), /spec: missing/],
  [
    "an unknown field",
    tunnel({}, { nodename: "n" }),
    /spec\.nodename: unknown field; known fields: .*nodeName/,
  ],
  ["a missing field", session({}, { tunnelRef: undefined }), /spec\.tunnelRef: missing/],
  [
    "a wrong type",
    tunnel({}, { peerTunnelId: "7" }),
    /spec\.peerTunnelId: "7": wrong type; use type integer/,
  ],
  [
    "a wrong value",
    tunnel({}, { encapsulation: "TCP" }),
    /spec\.encapsulation: "TCP".*one of UDP, IP/,
  ],
  ["an id of 0", session({}, { sessionId: 0 }), /spec\.sessionId: 0/],
  ["an id above 32 bits", session({}, { sessionId: 2 ** 32 }), /spec\.sessionId: 4294967296/],
  ["a name with a path", tunnel({ metadata: { name: "../x" } }), /metadata\.name: "\.\.\/x"/],
  [
    "a tunnel in a namespace",
    tunnel({ metadata: { name: "x", namespace: "y" } }),
    /has no namespace/,
  ],
  [
    "an invalid namespace",
    session({ metadata: { name: "x", namespace: "A b" } }),
    /metadata\.namespace/,
  ],
])("rejects %s, and accepts the next document", (_what, content, message) => {
  const { tunnels, rejections } = take(content, tunnel({ metadata: { name: "good" } }));
  expect(rejections.map(describeRejection).join("\n")).toMatch(message);
  expect([...tunnels.keys()]).toEqual(["good"]);
});

it("reports all wrong fields at once, and shows no cookie", () => {
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
  expect(text).toMatch(/cookies\.receive\.value: wrong type; use type string, in quotes/);
  expect(text).not.toContain("12345678");
  expect(text).not.toContain("a1b2c3d4");
});
