import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { describeProblem } from "../../model/problem.ts";
import type { SessionSpec, TunnelSpec } from "./types.ts";
import { parseCookie, parseDuration, validateSession, validateTunnel } from "./validate.ts";

const TUNNEL: TunnelSpec = {
  nodeName: "a",
  encapsulation: "UDP",
  local: { address: "192.0.2.1", port: 5000 },
  remote: { address: "198.51.100.7", port: 5001 },
  tunnelId: 42,
  peerTunnelId: 45,
};
const SESSION: SessionSpec = { tunnelRef: { name: "t" }, sessionId: 1, peerSessionId: 2 };

describe("validateTunnel", () => {
  it.each<[string, Partial<TunnelSpec>]>([
    ["the example", {}],
    ["IPv6", { local: { address: "2001:db8::1" }, remote: { address: "2001:db8::2" } }],
    ["IP", { encapsulation: "IP", local: {}, remote: { address: "192.0.2.2" } }],
    ["no local address", { local: { port: 7 } }],
    ["the largest ids", { tunnelId: 0xffffffff, peerTunnelId: 1 }],
    [
      "one host, two ports",
      { local: { address: "127.0.0.1", port: 1 }, remote: { address: "127.0.0.1", port: 2 } },
    ],
  ])("accepts %s", (_name, change) => {
    expect(validateTunnel({ ...TUNNEL, ...change })).toEqual([]);
  });

  it.each<[string, Partial<TunnelSpec>, string]>([
    ["id 0", { tunnelId: 0 }, "spec.tunnelId 0: not an id; a whole number from 1 to 4294967295"],
    ["a large id", { peerTunnelId: 2 ** 32 }, "spec.peerTunnelId 4294967296: not an id"],
    ["half an id", { peerTunnelId: 1.5 }, "spec.peerTunnelId 1.5"],
    ["a name", { remote: { address: "peer" } }, 'spec.remote.address "peer": not an IP address'],
    ["multicast", { remote: { address: "224.0.0.1" } }, "a multicast address"],
    ["broadcast", { remote: { address: "255.255.255.255" } }, "a broadcast address"],
    ["nobody", { remote: { address: "0.0.0.0" } }, "an? unspecified address"],
    ["no scope", { local: {}, remote: { address: "fe80::1" } }, "a link-local address"],
    ["two families", { remote: { address: "::1" } }, "not of the remote's family"],
    [
      "itself",
      { local: { address: "2001:db8::1" }, remote: { address: "2001:DB8:0::1" } },
      "the tunnel leads to itself",
    ],
    ["a port over IP", { encapsulation: "IP" }, "IP encapsulation has no ports"],
    ["port 0", { remote: { address: "192.0.2.2", port: 0 } }, "not a UDP port"],
    ["the fast path with checksums", { fastPath: true }, "makes no UDP checksums"],
    [
      "the fast path in the kernel",
      { fastPath: true, udpChecksum: false, datapath: "Kernel" },
      "the userspace datapath's",
    ],
    ["no UDP", { encapsulation: "IP", udpChecksum: false }, "there is no UDP"],
    [
      "address and interface",
      { local: { address: "192.0.2.1", interface: "eth0" } },
      "the address is given too",
    ],
    ["no selector", { allowedNamespaces: { from: "Selector" } }, "Selector needs one"],
  ])("refuses %s", (_name, change, message) => {
    const problems = validateTunnel({ ...TUNNEL, ...change }).map(describeProblem);
    expect(problems.join("\n")).toMatch(new RegExp(message));
  });

  it("reports every bad field at once", () => {
    const spec = { ...TUNNEL, tunnelId: 0, peerTunnelId: 0, remote: { address: "", port: 0 } };
    expect(validateTunnel(spec).map(({ path }) => path)).toEqual([
      "spec.tunnelId",
      "spec.peerTunnelId",
      "spec.remote.address",
      "spec.remote.port",
    ]);
  });
});

describe("validateSession", () => {
  it.each<[string, Partial<SessionSpec>]>([
    ["the least", {}],
    [
      "cookies",
      { cookies: { receive: { value: "a1b2c3d4" }, transmit: { value: "0".repeat(16) } } },
    ],
    ["reordering", { sequencing: { send: true, receive: true, reorderTimeout: "50ms" } }],
    ["no sublayer", { l2SpecificSublayer: "None" }],
  ])("accepts %s", (_name, change) => {
    expect(validateSession({ ...SESSION, ...change })).toEqual([]);
  });

  it.each<[string, Partial<SessionSpec>, string]>([
    ["id 0", { sessionId: 0 }, "spec.sessionId 0: not an id"],
    ["id -1", { peerSessionId: -1 }, "spec.peerSessionId -1: not an id"],
    ["5 bytes", { cookies: { receive: { value: "aabbccddee" } } }, "10 hexadecimal digits"],
    ["no bytes", { cookies: { receive: { value: "" } } }, "0 hexadecimal digits"],
    ["no hex", { cookies: { transmit: { value: "aabbccdg" } } }, "not hexadecimal"],
    ["an empty cookie", { cookies: { receive: {} } }, "give it either value or valueFrom"],
    ["a tiny MTU", { mtu: 67 }, "spec.mtu 67: not an MTU"],
    ["a huge MTU", { mtu: 65_522 }, "not an MTU"],
    [
      "waiting without looking",
      { sequencing: { reorderTimeout: "50ms" } },
      "received sequence numbers do not count",
    ],
    ["no time", { sequencing: { receive: true, reorderTimeout: "soon" } }, "not a time to wait"],
    ["too long", { sequencing: { receive: true, reorderTimeout: "11s" } }, "not a time to wait"],
    [
      "sequencing without a sublayer",
      { l2SpecificSublayer: "None", sequencing: { send: true } },
      "sequence numbers stand in the sublayer",
    ],
  ])("refuses %s", (_name, change, message) => {
    const problems = validateSession({ ...SESSION, ...change }).map(describeProblem);
    expect(problems.join("\n")).toContain(message);
  });

  it("never shows a cookie", () => {
    fc.assert(
      fc.property(fc.string({ minLength: 4 }), (value) => {
        const problems = validateSession({ ...SESSION, cookies: { receive: { value } } });
        for (const problem of problems) expect(problem.value).toBeUndefined();
      }),
    );
  });
});

it("reads cookies", () => {
  expect(parseCookie(" 0xA1B2C3D4\n")).toBe("a1b2c3d4");
  expect(parseCookie("a1b2c3d")).toBeUndefined();
  expect(parseCookie("a1b2c3d4e5f6")).toBeUndefined();
});

it("reads durations", () => {
  expect(parseDuration("50ms")).toBe(50);
  expect(parseDuration("2s")).toBe(2000);
  for (const bad of ["", "5", "ms", "-1ms", "1.5s", "1m"]) {
    expect(parseDuration(bad)).toBeUndefined();
  }
});
