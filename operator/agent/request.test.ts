import { describe, expect, it } from "vitest";
import { checkRequest } from "./request.ts";

const whose = { containerId: "c1", cniIfname: "eth0" };
const attach = {
  ...{ op: "attach", ...whose, ifname: "net1", netns: "/run/netns/x", session: "shop/lan" },
  ...{ pod: "shop/web-0", network: "branch", mac: "02:00:00:00:00:01", ipam: { ips: [] } },
  awaitsIpam: false,
  ipamType: "static",
  addresses: ["10.1.0.1/24", "fd00::1/64"],
  routes: [
    { destination: "0.0.0.0/0", gateway: "10.1.0.9" },
    { destination: "fd01::/48", gateway: null },
  ],
};

it("returns valid requests, without unknown fields", () => {
  expect(checkRequest({ ...attach, more: 1 })).toEqual(attach);
  const { ipamType: _, ...earlier } = attach;
  expect(checkRequest(earlier)).toEqual({ ...attach, ipamType: null });
  expect(checkRequest({ op: "tunnels", more: 1 })).toEqual({ op: "tunnels" });
  const gc = { op: "gc", network: "branch", valid: [whose], before: "2026-11-22T10:00:00.000Z" };
  expect(checkRequest(gc)).toEqual(gc);
});

describe("rejects an invalid field by its name:", () => {
  it.each<[object | null, RegExp]>([
    [null, /object/],
    [{}, /unknown request/],
    [{ op: "nope" }, /unknown request "nope"/],
    [{ ...attach, containerId: "../x" }, /containerId "\.\.\/x"/],
    [{ ...attach, ifname: "a/b" }, /ifname/],
    [{ ...attach, ifname: "sixteen-bytes-it" }, /ifname/],
    [{ ...attach, netns: "relative" }, /netns/],
    [{ ...attach, session: "lan" }, /session/],
    [{ ...attach, pod: 7 }, /pod/],
    [{ ...attach, mac: "01:00:00:00:00:01" }, /group/],
    [{ ...attach, mac: "02:00" }, /mac/],
    [{ ...attach, addresses: "10.0.0.1/8" }, /addresses: must be a list/],
    [
      { ...attach, addresses: Array(1000).fill("10.0.0.1/8") },
      /addresses: must be a list of at most/,
    ],
    [{ ...attach, addresses: ["10.0.0.1"] }, /"10\.0\.0\.1" is not ADDRESS\/LENGTH/],
    [{ ...attach, routes: [null] }, /gateway|ADDRESS/],
    [{ ...attach, routes: [{ destination: "10.0.0.0/8", gateway: "x" }] }, /gateway "x"/],
    [
      { op: "gc", network: "branch", valid: {}, before: "2026-11-22T10:00:00Z" },
      /valid: must be a list/,
    ],
    [{ op: "gc", network: "branch", valid: [{}], before: "2026-11-22T10:00:00Z" }, /containerId/],
    [{ op: "gc", network: "branch", valid: [], before: "yesterday" }, /before/],
    [{ op: "doctor", seconds: 1e9 }, /seconds: must be 0 to 60/],
  ])("%j", (request, message) => {
    expect(() => checkRequest(request)).toThrow(message);
    try {
      checkRequest(request);
    } catch (error) {
      expect(error).toMatchObject({ code: "InvalidRequest" });
    }
  });
});
