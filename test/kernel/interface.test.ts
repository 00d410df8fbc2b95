/** Mode Interface in the kernel: l2tpeth is joined to a port or VLAN, is in a bridge, or is a node interface. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { SessionSpec, TunnelSpec } from "../../operator/api/types.ts";
import { TestAgent } from "../harness/agent.ts";
import { addKernelPeer } from "../harness/kernel-peer.ts";
import { inside, ip, link, nameOf, ping, TestNet } from "../harness/net.ts";
import { managedSession, managedTunnel, sessionObject, tunnelObject } from "../harness/objects.ts";
import { run } from "../harness/run.ts";
import { streamTcp } from "../harness/streams.ts";
import { until } from "../harness/wait.ts";

type Attachment = NonNullable<SessionSpec["attachment"]>;
const FAR = "10.1.0.9";

let net: TestNet;
let agent: TestAgent;
let desk: string;

beforeAll(async () => {
  net = await TestNet.create({ aIsInitial: true });
  agent = new TestAgent(net.a);
  await addKernelPeer(net.b, net.a);
  await ip(net.b.name, "addr", "add", `${FAR}/24`, "dev", "peer0");
  await agent.start();
});

beforeEach(async () => {
  desk = await net.addPod("desk");
  const peer = ["peer", "name", "port", "netns", nameOf(desk)];
  await ip(net.a.name, "link", "add", "eth1", "type", "veth", ...peer);
  await ip(net.a.name, "link", "set", "eth1", "up");
  await ip(desk, "link", "set", "port", "up");
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(agent.log);
  clear();
  await until("no session is left", async () => (await agent.ask({ op: "sessions" })).length === 0);
  await ip(net.a.name, "link", "del", "eth1");
  await net.removePod(desk);
});

afterAll(async () => {
  await agent.kill();
  expect((await agent.teardown()).status).toBe(0);
  await agent.destroy();
  await net.remove();
});

function write(attachment: Partial<Attachment>, tunnel: Partial<TunnelSpec> = {}): void {
  const kernel = { datapath: "Kernel" as const, allowedInterfaces: ["*"] };
  agent.write("all.yaml", [
    tunnelObject("t", net.a, net.b, { ...kernel, ...tunnel }),
    sessionObject("lan", "t", { attachment: { mode: "Interface", ...attachment } }),
  ]);
}

/** Deletes the session, but keeps the tunnel: a file must not be empty. */
function clear(): void {
  const kernel = { datapath: "Kernel" as const };
  agent.write("all.yaml", [tunnelObject("t", net.a, net.b, kernel)]);
}

const crosses = (from: string) => until("frames cross", () => ping(from, FAR));
const filters = (name: string) =>
  run(inside(net.a.name, "tc", "filter", "show", "dev", name, "ingress"));
const isClean = async (name: string) =>
  (await filters(name)) === "" &&
  (await link(net.a.name, name))?.flags.includes("PROMISC") === false;

describe("a port", () => {
  it("is joined, stays joined without the agent, is rejoined, and is restored at the end", async () => {
    await ip(desk, "addr", "add", "10.1.0.1/24", "dev", "port");
    write({ interface: "eth1" });
    await crosses(desk);
    const { sent, received } = await streamTcp(
      { netns: desk, address: "10.1.0.1" },
      { netns: net.b.netns, address: FAR },
      1_000_000,
    );
    expect(received).toEqual(sent);
    const before = await filters("eth1");
    await agent.kill();
    expect(await ping(desk, FAR, { count: 5 })).toBe(true);
    await agent.start();
    expect(await filters("eth1")).toBe(before);
    expect(await ping(desk, FAR, { count: 5 })).toBe(true);
    await run(inside(net.a.name, "tc", "qdisc", "del", "dev", "eth1", "clsact"));
    await crosses(desk);
    await ip(net.a.name, "l2tp", "del", "session", "tunnel_id", "1", "session_id", "128");
    await crosses(desk);
    clear();
    await until("the port is clean", () => isClean("eth1"));
  });

  it("can be joined by one of its VLANs", async () => {
    const vlan = ["type", "vlan", "id", "100"];
    await ip(net.a.name, "link", "add", "link", "eth1", "name", "eth1.100", ...vlan);
    await ip(net.a.name, "link", "set", "eth1.100", "up");
    await ip(desk, "link", "add", "link", "port", "name", "port.100", ...vlan);
    await ip(desk, "link", "set", "port.100", "up");
    await ip(desk, "addr", "add", "10.1.0.1/24", "dev", "port.100");
    // The node still receives untagged frames.
    await ip(net.a.name, "addr", "add", "10.7.0.2/24", "dev", "eth1");
    await ip(desk, "addr", "add", "10.7.0.1/24", "dev", "port");
    write({ interface: "eth1.100" });
    await crosses(desk);
    expect(await ping(desk, "10.7.0.2", { count: 3 })).toBe(true);
    clear();
    await until("the VLAN is clean", () => isClean("eth1.100"));
  });

  it("is part of the underlay if one of its VLANs is", async () => {
    const vlan = ["type", "vlan", "id", "100"];
    await ip(net.a.name, "link", "add", "link", "eth1", "name", "eth1.100", ...vlan);
    await ip(net.a.name, "link", "set", "eth1.100", "up");
    await ip(net.a.name, "route", "add", `${net.b.ipv4}/32`, "dev", "eth1.100");
    write({ interface: "eth1" });
    await until("the port is rejected", async () => {
      const conditions = (await agent.session("shop/lan"))?.conditions;
      return conditions?.some(({ reason }) => reason === "InterfaceIsUnderlay") === true;
    });
    expect(await isClean("eth1")).toBe(true);
  });
});

describe("in a managed tunnel", () => {
  it("signals the port's carrier to the peer", async () => {
    const { a, b } = net;
    const far = new TestAgent(b);
    const control = { mode: "Managed", hello: { interval: "1s", deadAfter: "3s" } };
    const session = (attachment: object) =>
      managedSession("lan", "m", { attachment: { mode: "Interface", ...attachment } });
    const more = { allowedInterfaces: ["*"] };
    try {
      far.write("all.yaml", [
        managedTunnel("m", b, a, control, { ...more, datapath: "Userspace" }),
        session({ interface: "edge0", create: true, addresses: [`${FAR}/24`] }),
      ]);
      await ip(b.name, "addr", "del", `${FAR}/24`, "dev", "peer0");
      await far.start();
      await ip(desk, "addr", "add", "10.1.0.1/24", "dev", "port");
      agent.write("all.yaml", [
        managedTunnel("m", a, b, control, { ...more, datapath: "Kernel" }),
        session({ interface: "eth1" }),
      ]);
      await crosses(desk);
      const isEstablished = (reason: string) =>
        until(`the peer sees ${reason}`, async () => {
          const conditions = (await far.session("shop/lan"))?.conditions;
          return conditions?.some((one) => one.type === "Established" && one.reason === reason);
        });
      await ip(desk, "link", "set", "port", "down");
      await isEstablished("NotActive");
      await ip(desk, "link", "set", "port", "up");
      await isEstablished("Active");
      await crosses(desk);
      // A renegotiated session has another device.
      process.kill(await far.datapathPid(), "SIGKILL");
      await crosses(desk);
    } finally {
      await far.teardownOrKill();
      await far.destroy();
      await ip(b.name, "addr", "add", `${FAR}/24`, "dev", "peer0");
    }
  });
});

describe("the l2tpeth device", () => {
  it("becomes a port of a bridge", async () => {
    await ip(desk, "addr", "add", "10.1.0.1/24", "dev", "port");
    await ip(net.a.name, "link", "add", "br7", "type", "bridge");
    await ip(net.a.name, "link", "set", "br7", "up");
    await ip(net.a.name, "link", "set", "eth1", "master", "br7");
    write({ interface: "br7" });
    await crosses(desk);
    await agent.kill();
    await agent.start();
    expect(await ping(desk, FAR, { count: 5 })).toBe(true);
    await ip(net.a.name, "link", "del", "br7");
  });

  it("is a node interface with addresses, is adopted by a new agent, and is recreated", async () => {
    const at = (name: string, address: string) =>
      write({ interface: name, create: true, addresses: [address] });
    at("edge0", "10.1.0.1/24");
    await crosses(net.a.netns);
    const index = (await link(net.a.name, "edge0"))?.ifindex;
    await agent.kill();
    expect(await ping(net.a.name, FAR, { count: 5 })).toBe(true);
    await agent.start();
    expect(await ping(net.a.name, FAR, { count: 5 })).toBe(true);
    expect(await agent.session("shop/lan")).toMatchObject({
      ...{ interface: "edge0", attachedTo: ["node:edge0"] },
    });
    at("edge1", "10.1.0.2/24");
    await until(
      "the device has the name",
      async () => (await link(net.a.name, "edge1")) !== undefined,
    );
    await crosses(net.a.netns);
    expect((await link(net.a.name, "edge1"))?.ifindex).toBe(index);
    await until("the first address is deleted", async () => {
      const known = (await link(net.a.name, "edge1"))?.addr_info ?? [];
      return !known.some(({ local }) => local === "10.1.0.1");
    });
    await ip(net.a.name, "link", "del", "edge1").catch(() => {});
    await ip(net.a.name, "l2tp", "del", "session", "tunnel_id", "1", "session_id", "128").catch(
      () => {},
    );
    await crosses(net.a.netns);
    await agent.kill();
    expect((await agent.teardown()).status).toBe(0);
    expect(await link(net.a.name, "edge1")).toBeUndefined();
    clear();
    await agent.start();
  });
});
