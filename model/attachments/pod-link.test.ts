import { describe, expect, it } from "vitest";
import type { Link } from "../plan.ts";
import type { PodDevice } from "./attachment.ts";
import { asLeft, lostWhenLowered } from "./pod-link.ts";

const WANTED: Link = {
  id: "l2tp:session:shop/lan",
  kind: "pseudowire",
  datapath: "Userspace",
  label: "l2tp:session:shop/lan 128",
  netns: "/run/netns/pod",
  name: "net1",
  mtu: 1446,
  mac: "02:00:00:00:00:01",
  up: true,
  bridge: null,
  addresses: ["10.1.0.1/24"],
  routes: [{ destination: "0.0.0.0/0", gateway: "10.1.0.2" }],
};
const DEVICE: PodDevice = {
  index: 7,
  kind: "pseudowire",
  datapath: "Userspace",
  sessionId: 128,
  mtu: 1446,
  isLowered: false,
};
const PRESENT: Link = { ...WANTED, index: 7 };
const left = (present: Partial<Link>, device: Partial<PodDevice> = {}, wanted = WANTED) =>
  asLeft(wanted, { device: { ...DEVICE, ...device } as PodDevice }, { ...PRESENT, ...present });

describe("a link that was left to its pod", () => {
  it("stays as the pod configured it", () => {
    const changed = {
      name: "port-nic",
      mac: "02:00:00:00:00:99",
      mtu: 1200,
      up: false,
      bridge: "foreign 9",
      addresses: [],
      routes: [],
    };
    expect(left(changed)).toMatchObject(changed);
  });

  it("is configured as by ADD after a change between Ethernet frames and IP datagrams", () => {
    const datagrams = { ...WANTED, mac: null, hasMac: false };
    expect(left({ name: "port-nic", up: false }, {}, datagrams)).toEqual(datagrams);
    expect(left({ name: "port-nic", mac: null, hasMac: false })).toEqual(WANTED);
    const same = { name: "port-nic", mac: null, hasMac: false };
    expect(left(same, {}, datagrams)).toMatchObject(same);
    // The agent cannot inspect the link there.
    const elsewhere = { isElsewhere: true, index: 0 };
    expect(left(elsewhere, {}, datagrams)).toMatchObject({
      ...elsewhere,
      mac: null,
      hasMac: false,
    });
  });

  it("follows the MTU of its session, unless the pod chose another", () => {
    const wanted = { ...WANTED, mtu: 1300 };
    expect(left({}, {}, wanted).mtu).toBe(1300);
    expect(left({ mtu: 1200 }, {}, wanted).mtu).toBe(1200);
  });

  it("goes down and up with the peer's circuit, unless the pod has chosen", () => {
    const down = { ...WANTED, up: false };
    expect(left({}, {}, down).up).toBe(false);
    // The pod has raised it meanwhile.
    expect(left({}, { isLowered: true }, down).up).toBe(true);
    expect(left({ up: false }, { isLowered: true })).toMatchObject({
      up: true,
      addresses: expect.arrayContaining([...WANTED.addresses]),
      routes: WANTED.routes,
    });
    // The pod has set it down itself.
    expect(left({ up: false }).up).toBe(false);
  });

  it("regains its lost settings when it is set up, the route to a gateway first", () => {
    const toGateway = { destination: "10.8.0.1/32", gateway: null, source: "10.1.0.1" };
    const byGateway = { destination: "10.7.0.0/16", gateway: "10.8.0.1", table: 100 };
    const [added] = WANTED.routes;
    const kept = { addresses: ["fd00::1/64"], routes: [byGateway, ...WANTED.routes, toGateway] };
    const lowered = { up: false, addresses: ["10.1.0.1/24", "10.9.0.1/24"], routes: [] };
    expect(left(lowered, { isLowered: true, kept })).toMatchObject({
      addresses: ["fd00::1/64", "10.1.0.1/24", "10.9.0.1/24"],
      routes: [{ ...toGateway, isPods: true }, { ...byGateway, isPods: true }, added],
    });
  });

  it("has no routes while it is down as a replacement", () => {
    expect(left({}, {}, { ...WANTED, up: false })).toMatchObject({ up: false, routes: [] });
  });

  it("does not keep addresses and routes that the kernel adds by itself", () => {
    const network = { destination: "10.1.0.0/24", gateway: null, isKernels: true as const };
    const addresses = ["10.1.0.1/24", "2001:db8::7/64", "fd00::1/64"];
    const transient = ["2001:db8::7/64"];
    const found = left({ addresses, transient, routes: [network, ...WANTED.routes] });
    expect(found.addresses).toEqual(["10.1.0.1/24", "fd00::1/64"]);
    expect(found.routes).toEqual(WANTED.routes);
    expect(lostWhenLowered({ ...PRESENT, addresses, transient, routes: [network] })).toEqual({
      addresses: ["fd00::1/64"],
      routes: [],
    });
  });

  it("has the state of the link that it replaces", () => {
    const wanted: Link = { ...WANTED, datapath: "Kernel" };
    const found = left({ name: "mine", addresses: ["10.9.0.1/24"] }, {}, wanted);
    expect(found).toMatchObject({ datapath: "Kernel", name: "mine", addresses: ["10.9.0.1/24"] });
    expect(found.label).toBe(WANTED.label);
  });

  it("stays in the namespace to which the pod moved it", () => {
    const elsewhere = { isElsewhere: true, index: 0 };
    expect(left(elsewhere)).toEqual({ ...PRESENT, ...elsewhere });
  });
});

describe("a link that was not left to a pod yet", () => {
  it.each<[string, ReturnType<typeof asLeft>]>([
    ["because it is being created", asLeft(WANTED, { device: null }, { ...PRESENT, name: "x" })],
    [
      "because its ADD waits for IPAM",
      asLeft(WANTED, { device: DEVICE, isComplete: false }, { ...PRESENT, up: false }),
    ],
    ["because it is missing", asLeft(WANTED, { device: DEVICE }, undefined)],
    ["because it is another device", left({ index: 8, name: "x" })],
    ["because it is in another pod", left({ netns: "/run/netns/other" })],
  ])("is as ADD makes it, %s", (_why, link) => {
    expect(link).toEqual(WANTED);
  });
});
