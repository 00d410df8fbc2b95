/** The project's rtnetlink client and ip(8): each sees the other's changes. */
import { spawn } from "node:child_process";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { addAddress, listAddresses } from "../../linux/netlink/address.ts";
import {
  createBridge,
  createVeth,
  deleteLink,
  findLink,
  listLinks,
  setLink,
} from "../../linux/netlink/link.ts";
import { MessageWriter, NLM_F_ACK } from "../../linux/netlink/message.ts";
import { addRoute, listRoutes, lookUpRoute } from "../../linux/netlink/route.ts";
import {
  NETLINK_ROUTE,
  NetlinkError,
  NetlinkSocket,
  NLM_F_REQUEST,
} from "../../linux/netlink/socket.ts";
import { type IpLink, ip, link, linksOf, nameOf, TestNet } from "../harness/net.ts";
import { stop } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

let net: TestNet;
let netns: string;
let other: string;
let socket: NetlinkSocket;

beforeEach(async () => {
  net = await TestNet.create();
  netns = await net.addPod("one");
  other = await net.addPod("two");
  socket = new NetlinkSocket(NETLINK_ROUTE, netns);
});

afterEach(async () => {
  socket.close();
  await net.remove();
});

/** `ip -j link`, which shows more than `ip -j addr`. */
async function shownLinks(namespace: string): Promise<IpLink[]> {
  return JSON.parse(await ip(namespace, "-j", "link", "show")) as IpLink[];
}

async function shown(namespace: string, name: string): Promise<IpLink | undefined> {
  return (await shownLinks(namespace)).find(({ ifname }) => ifname === name);
}

const indexOf = (name: string): number => findLink(socket, name)?.index ?? 0;

/** Creates a veth pair: `name` in this namespace, `peer` in the other. */
function makePair(name = "v0", peer = "v1"): void {
  createVeth(socket, { name, mtu: 1400 }, { name: peer, mtu: 1400, netns: other });
}

describe("links", () => {
  it("are created as ip shows them, and listed as ip created them", async () => {
    createBridge(socket, { name: "br0", mtu: 1450, mac: "02:00:00:00:00:01" });
    expect(await link(netns, "br0")).toMatchObject({ mtu: 1450, address: "02:00:00:00:00:01" });
    makePair();
    setLink(socket, indexOf("v0"), {
      mac: "02:00:00:00:00:02",
      mtu: 1300,
      alias: "by netlink",
      master: indexOf("br0"),
    });
    setLink(socket, indexOf("v0"), { up: true });
    expect(await shown(netns, "v0")).toMatchObject({
      mtu: 1300,
      address: "02:00:00:00:00:02",
      ifalias: "by netlink",
      master: "br0",
      flags: expect.arrayContaining(["UP"]),
    });
    expect(await link(other, "v1")).toMatchObject({ mtu: 1400 });

    await ip(netns, "link", "set", "v0", "nomaster", "alias", "by ip", "mtu", "1280", "down");
    const links = await shownLinks(netns);
    const listed = listLinks(socket);
    expect(
      listed.map(({ name, index, mtu, mac, up, alias }) => [name, index, mtu, mac, up, alias]),
    ).toEqual(
      links.map(({ ifname, ifindex, mtu, address, flags, ifalias }) => {
        return [ifname, ifindex, mtu, address, flags.includes("UP"), ifalias ?? ""];
      }),
    );
    expect(listed.find(({ name }) => name === "v0")).toMatchObject({ kind: "veth", master: 0 });
    expect(listed.find(({ name }) => name === "br0")).toMatchObject({ kind: "bridge" });
  });

  it("change namespace and name in one step", async () => {
    makePair();
    setLink(socket, indexOf("v0"), { netns: other, name: "eth7" });
    expect(findLink(socket, "v0")).toBeUndefined();
    expect(await link(other, "eth7")).toMatchObject({ mtu: 1400 });
  });

  it("are not listed once deleted, and a second deletion succeeds", async () => {
    makePair();
    const index = indexOf("v0");
    await deleteLink(socket, netns, index);
    expect(await linksOf(netns)).toHaveLength(1);
    expect((await linksOf(other)).map(({ ifname }) => ifname)).toEqual(["lo"]);
    await deleteLink(socket, netns, index);
    await expect(deleteLink(socket, netns, indexOf("lo"))).rejects.toThrow("EOPNOTSUPP");
    // The name is reusable at once, although the kernel still cleans up the deleted link.
    makePair();
    expect(await link(other, "v1")).toBeDefined();
  });

  it("lose their alias if an empty one is set", async () => {
    makePair();
    setLink(socket, indexOf("v0"), { alias: "by netlink" });
    expect((await shown(netns, "v0"))?.ifalias).toBe("by netlink");
    setLink(socket, indexOf("v0"), { alias: "" });
    expect((await shown(netns, "v0"))?.ifalias).toBeUndefined();
  });

  it("come up without an IPv6 link-local address if requested", async () => {
    makePair();
    makePair("w0", "w1");
    for (const name of ["v1", "w1"]) await ip(other, "link", "set", name, "up");
    setLink(socket, indexOf("v0"), { addressGeneration: false });
    for (const name of ["v0", "w0"]) setLink(socket, indexOf(name), { up: true });
    await until(
      "the other link has an address",
      async () => (await link(netns, "w0"))?.addr_info?.length,
    );
    expect((await link(netns, "v0"))?.addr_info).toEqual([]);
  });
});

describe("addresses and routes", () => {
  beforeEach(async () => {
    makePair();
    await ip(other, "link", "set", "v1", "up");
    setLink(socket, indexOf("v0"), { addressGeneration: false });
    setLink(socket, indexOf("v0"), { up: true });
  });

  it("are added as ip shows them, and adding them twice succeeds", async () => {
    const index = indexOf("v0");
    for (const prefix of ["10.1.0.1/24", "10.1.0.1/24", "fd00::1/64", "fd00::1/64"]) {
      addAddress(socket, { link: index, prefix });
    }
    addRoute(socket, { destination: "10.2.0.9/16", gateway: "10.1.0.9", link: index });
    addRoute(socket, { destination: "0.0.0.0/0", gateway: "10.1.0.9", link: index });
    addRoute(socket, { destination: "fd01::/48", gateway: "fd00::9", link: index });
    addRoute(socket, { destination: "10.3.0.0/24", link: index });
    expect((await link(netns, "v0"))?.addr_info).toEqual([
      expect.objectContaining({ local: "10.1.0.1", prefixlen: 24 }),
      // Without duplicate address detection the address is usable at once.
      expect.objectContaining({ local: "fd00::1", prefixlen: 64, scope: "global" }),
    ]);
    expect(await ip(netns, "-6", "addr")).not.toContain("tentative");
    const routes = `${await ip(netns, "route")}${await ip(netns, "-6", "route")}`;
    expect(routes).toContain("10.2.0.0/16 via 10.1.0.9 dev v0");
    expect(routes).toContain("default via 10.1.0.9 dev v0");
    expect(routes).toContain("10.3.0.0/24 dev v0");
    expect(routes).toContain("fd01::/48 via fd00::9 dev v0");
  });

  it("are listed as ip set them", async () => {
    await ip(netns, "addr", "add", "10.1.0.1/24", "dev", "v0");
    await ip(netns, "addr", "add", "fd00::1/64", "dev", "v0", "nodad");
    await ip(netns, "route", "add", "10.2.0.0/16", "via", "10.1.0.9", "metric", "77");
    await ip(netns, "route", "add", "10.3.0.0/16", "via", "10.8.0.9", "dev", "v0", "onlink");
    await ip(netns, "-6", "route", "add", "default", "via", "fd00::9");
    const index = indexOf("v0");
    const prefixes = listAddresses(socket).filter((item) => item.link === index);
    expect(prefixes.map(({ prefix }) => prefix)).toEqual(["10.1.0.1/24", "fd00::1/64"]);
    const onLink = { destination: "10.1.0.0/24", scope: 253, source: "10.1.0.1", isKernels: true };
    const byGateway = { destination: "10.2.0.0/16", gateway: "10.1.0.9", priority: 77, scope: 0 };
    const isOnLink = { destination: "10.3.0.0/16", gateway: "10.8.0.9", isOnLink: true };
    expect(listRoutes(socket)).toEqual(
      expect.arrayContaining([
        { link: index, ...onLink },
        { link: index, ...byGateway },
        expect.objectContaining(isOnLink),
        expect.objectContaining({ destination: "::/0", gateway: "fd00::9", isKernels: undefined }),
      ]),
    );
  });

  it("are looked up as the kernel routes", async () => {
    await ip(netns, "addr", "add", "10.1.0.1/24", "dev", "v0");
    await ip(netns, "route", "add", "10.2.0.0/16", "via", "10.1.0.9", "mtu", "1234");
    const index = indexOf("v0");
    expect(lookUpRoute(socket, "10.1.0.7")).toEqual({
      link: index,
      source: "10.1.0.1",
      mtu: undefined,
      type: "unicast",
    });
    expect(lookUpRoute(socket, "10.1.0.1").type).toBe("local");
    expect(lookUpRoute(socket, "10.1.0.255").type).toBe("broadcast");
    expect(lookUpRoute(socket, "10.2.0.7")).toMatchObject({ link: index, mtu: 1234 });
    expect(() => lookUpRoute(socket, "198.51.100.1")).toThrow("ENETUNREACH");
  });
});

describe("errors", () => {
  it("have errno's name, the operation, and the kernel's message", () => {
    makePair();
    const attempt = (work: () => void) => {
      try {
        work();
      } catch (error) {
        return error as NetlinkError;
      }
      throw new Error("it succeeded");
    };
    const tooLarge = attempt(() => setLink(socket, indexOf("v0"), { mtu: 70_000 }));
    expect(tooLarge).toBeInstanceOf(NetlinkError);
    expect(tooLarge.code).toBe("EINVAL");
    expect(tooLarge.extendedAck).toBe("mtu greater than device maximum");
    expect(tooLarge.message).toMatch(/mtu 70000.*EINVAL \(mtu greater than device maximum\)$/);
    const taken = attempt(() => createBridge(socket, { name: "v0" }));
    expect(taken.code).toBe("EEXIST");
    const unknownType = new MessageWriter(9999, NLM_F_REQUEST | NLM_F_ACK, Buffer.alloc(16));
    const unknown = attempt(() => socket.request({ message: unknownType, name: "nonsense" }));
    expect(unknown).toMatchObject({ code: "EOPNOTSUPP", syscall: "nonsense" });
    // The socket still works after each error.
    expect(findLink(socket, "v0")?.mtu).toBe(1400);
  });
});

it("lists each unchanged link once, while others are created and deleted", async () => {
  // So many links that a dump needs several messages, and can be interrupted.
  const still = Array.from({ length: 150 }, (_, index) => `still${index}`);
  for (const name of still) createBridge(socket, { name });
  const churn = `while :; do ip link add churn0 type bridge; ip link set churn0 name churn1; ip link del churn1; done`;
  const child = spawn("ip", ["netns", "exec", nameOf(netns), "sh", "-c", churn], {
    stdio: "ignore",
    detached: true,
  });
  try {
    let changes = 0;
    let before = "";
    for (let i = 0; i < 300 || changes < 10; i++) {
      const names = listLinks(socket).map(({ name }) => name);
      expect(names.filter((name) => name.startsWith("still")).sort()).toEqual([...still].sort());
      expect(new Set(names).size).toBe(names.length);
      const rest = names.filter((name) => !name.startsWith("still")).join(" ");
      if (rest !== before) changes++;
      before = rest;
      if (i > 20_000) throw new Error("no link was created or deleted");
    }
  } finally {
    process.kill(-(child.pid ?? 0), "SIGKILL");
    await stop(child);
  }
});
