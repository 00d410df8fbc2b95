import { expect, it } from "vitest";
import { API_VERSION, type L2tpTunnel, type TunnelSpec } from "../api/types.ts";
import { type NodePaths, resolveEnds } from "./ends.ts";
import { RefusalError } from "./refusal.ts";

const RED = { name: "red", index: 9 };
const NOTHING = {
  ...{ tunnels: new Map(), kernelTunnels: new Set<string>(), sessions: new Map() },
  underlayMtus: new Map<string, number>(),
};
const PATHS: NodePaths = {
  route: () => ({ source: "192.0.2.1", mtu: 1500, type: "unicast" }),
  interfaceAddress: () => "192.0.2.77",
  deviceToBind: () => null,
};

function ends(
  spec: Partial<TunnelSpec>,
  paths: Partial<NodePaths> = {},
  programmed: Partial<typeof NOTHING & { devices: ReadonlyMap<string, typeof RED> }> = {},
) {
  const object: L2tpTunnel = {
    apiVersion: API_VERSION,
    kind: "L2tpTunnel",
    metadata: { name: "t" },
    spec: { nodeName: "here", remote: { address: "192.0.2.2" }, ...spec },
  };
  const underlay = { ...PATHS, ...paths };
  return resolveEnds(object, { underlay, programmed: { ...NOTHING, ...programmed } });
}

it("binds the socket to the VRF of an address or interface, and uses the routes of the VRF", () => {
  const asked: unknown[][] = [];
  const paths: Partial<NodePaths> = {
    deviceToBind: () => RED,
    route(...args) {
      asked.push(args);
      return { source: "192.0.2.5", mtu: 1400, type: "unicast" };
    },
  };
  const local = { address: "192.0.2.1" };
  expect(ends({ local }, paths)).toMatchObject({
    ...{ local: "192.0.2.1", device: RED, underlayMtu: 1400, isAddressLost: false },
  });
  expect(ends({ local: { interface: "eth1" } }, paths).device).toBe(RED);
  expect(asked).toEqual([
    ["192.0.2.2", "192.0.2.1", RED],
    ["192.0.2.2", "192.0.2.77", RED],
  ]);
});

it("binds to no device if the node chooses the address", () => {
  expect(ends({}, { deviceToBind: () => RED })).toMatchObject({ local: "192.0.2.1", device: null });
});

const lost: Partial<NodePaths> = {
  deviceToBind: () => undefined,
  route() {
    throw Object.assign(new Error("gone"), { code: "EADDRNOTAVAIL" });
  },
};

it("reports a lost address, and keeps the socket in its VRF", () => {
  const local = { address: "192.0.2.1" };
  const devices = new Map([["t", RED]]);
  expect(ends({ local }, lost, { devices })).toMatchObject({ isAddressLost: true, device: RED });
  expect(ends({ local }, lost)).toMatchObject({ isAddressLost: true, device: null });
});

it.each(["broadcast", "multicast", "anycast"])("rejects a remote that is a %s address", (type) => {
  const route = () => ({ source: "192.0.2.1", mtu: 1500, type });
  expect(() => ends({}, { route })).toThrow(RefusalError);
  try {
    ends({}, { route });
  } catch (error) {
    expect((error as RefusalError).refusal).toMatchObject({
      ...{ condition: "Programmed", reason: "InvalidRemote" },
      message: expect.stringMatching(`^spec\\.remote\\.address.*192\\.0\\.2\\.2.*${type} address`),
    });
  }
});

it("names the backup that is a broadcast address", () => {
  const backup = [{ address: "192.0.2.3" }, { address: "192.0.2.255" }];
  const route = (remote: string) => {
    const type = remote === "192.0.2.255" ? "broadcast" : "unicast";
    return { source: "192.0.2.1", mtu: 1500, type };
  };
  expect(() => ends({ backup }, { route })).toThrow("spec.backup[1].address");
});

it("accepts an address of the node: two tunnels of a node can be peers", () => {
  const route = () => ({ source: "192.0.2.1", mtu: 1500, type: "local" });
  expect(ends({}, { route }).noRoute).toBeNull();
});
