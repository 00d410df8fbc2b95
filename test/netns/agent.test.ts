import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { lostPings } from "../harness/lost-pings.ts";
import { ip, link, ping, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { until } from "../harness/wait.ts";

let net: TestNet;
let a: TestAgent;
let b: TestAgent;
let podA: string;
let podB: string;

const config = (agent: TestAgent, address: string) => ({
  cniVersion: "1.0.0",
  name: "branch",
  type: "l2tp",
  session: "shop/lan",
  socket: agent.socket,
  runtimeConfig: { ips: [address] },
});

beforeEach(async () => {
  net = await TestNet.create();
  a = new TestAgent(net.a);
  b = new TestAgent(net.b);
  for (const [mine, other] of [
    [a, net.b],
    [b, net.a],
  ] as const) {
    mine.write("tunnel.yaml", [tunnelObject("branch", mine.host, other)]);
    mine.write("lan.yaml", [sessionObject("lan", "branch")]);
  }
  await Promise.all([a.start(), b.start()]);
  podA = await net.addPod("pa");
  podB = await net.addPod("pb");
  for (const [agent, netns, address] of [
    [a, podA, "10.1.0.1/24"],
    [b, podB, "10.1.0.2/24"],
  ] as const) {
    const call = { command: "ADD", netns, config: config(agent, address) };
    expect((await cni(agent.host, call)).stdout).toContain(address);
  }
  await until("frames cross", () => ping(podA, "10.1.0.2"));
});

afterEach(async () => {
  await a.destroy();
  await b.destroy();
  await net.remove();
});

describe("the agent", () => {
  it("loses no frame when it is killed and restarted", async () => {
    const pid = await a.datapathPid();
    const lost = await lostPings(podA, "10.1.0.2", async () => {
      await a.kill();
      await a.start();
      await a.kill("SIGTERM");
      await a.start();
    });
    expect(lost).toBe(0);
    expect(await a.datapathPid()).toBe(pid);
    expect((await a.session("shop/lan"))?.attachedTo).toHaveLength(1);
  });

  it("restarts a crashed datapath, and keeps the pod's interface", async () => {
    const before = await link(podA, "net1");
    const pid = await a.datapathPid();
    process.kill(pid, "SIGKILL");
    await until(
      "the datapath is restarted",
      async () => (await a.datapathPid().catch(() => pid)) !== pid,
    );
    await until("frames cross again", () => ping(podA, "10.1.0.2"));
    const after = await link(podA, "net1");
    expect(after?.ifindex).toBe(before?.ifindex);
    expect(after?.address).toBe(before?.address);
    const addresses = (of: typeof after) =>
      of?.addr_info?.map(({ local, prefixlen }) => `${local}/${prefixlen}`);
    expect(addresses(after)).toEqual(addresses(before));
  });

  it("recreates an interface that the pod deleted", async () => {
    const before = await link(podA, "net1");
    await ip(podA, "link", "del", "net1");
    await until("the interface is recreated", async () => {
      const now = await link(podA, "net1");
      return now?.mtu === before?.mtu && (await ping(podA, "10.1.0.2", { size: 1400 }));
    });
    expect((await link(podA, "net1"))?.address).toBe(before?.address);
  });

  it("changes a field without recreating the interface", async () => {
    const before = await link(podA, "net1");
    const cookies = (receive: string, transmit: string) => ({
      cookies: { receive: { value: receive }, transmit: { value: transmit } },
    });
    a.write("lan.yaml", [sessionObject("lan", "branch", cookies("a1b2c3d4", "0102030405060708"))]);
    await until("the MTU follows the cookie", async () => (await link(podA, "net1"))?.mtu === 1438);
    expect(await ping(podA, "10.1.0.2")).toBe(false);
    b.write("lan.yaml", [sessionObject("lan", "branch", cookies("0102030405060708", "a1b2c3d4"))]);
    await until("frames cross again", () => ping(podA, "10.1.0.2"));
    expect((await link(podA, "net1"))?.ifindex).toBe(before?.ifindex);
  });

  it("deletes only the objects of a deleted file", async () => {
    a.write("other.yaml", [sessionObject("other", "branch", { sessionId: 9, peerSessionId: 9 })]);
    await until("the other session is programmed", () => a.session("shop/other"));
    a.remove("other.yaml");
    await until(
      "the other session is deleted",
      async () => (await a.session("shop/other")) === undefined,
    );
    expect(await ping(podA, "10.1.0.2")).toBe(true);
    a.remove("lan.yaml");
    await until("the session is deleted", async () => (await link(podA, "net1")) === undefined);
    expect((await a.ask({ op: "tunnels" })).map(({ name }) => name)).toEqual(["branch"]);
  });

  it("keeps a running session when its manifest becomes invalid, and applies the others", async () => {
    a.write("lan.yaml", "kind: L2tpSession\n  broken: [");
    a.write("other.yaml", [sessionObject("other", "branch", { sessionId: 9, peerSessionId: 9 })]);
    await until("the other session is programmed", () => a.session("shop/other"));
    await a.logs("lan.yaml");
    expect(await ping(podA, "10.1.0.2")).toBe(true);
    await a.kill();
    await a.start();
    expect(await ping(podA, "10.1.0.2")).toBe(true);
    a.write("lan.yaml", [sessionObject("lan", "branch", { sessionId: 0 } as never)]);
    await until("the status has the reason", () =>
      a.condition("l2tpsession", "shop/lan", "Accepted")?.message.includes("spec.sessionId: 0"),
    );
    expect(await ping(podA, "10.1.0.2")).toBe(true);
  });

  it.each<[string, string, (object: object) => object | string]>([
    [
      "a tunnel with an unknown field",
      "tunnel.yaml",
      (object) => ({ ...object, spec: { ...(object as { spec: object }).spec, remotee: 1 } }),
    ],
    [
      "a tunnel without its remote",
      "tunnel.yaml",
      (object) => ({
        ...object,
        spec: { ...(object as { spec: object }).spec, remote: undefined },
      }),
    ],
    ["a misspelled kind", "lan.yaml", (object) => ({ ...object, kind: "L2tpSesion" })],
    ["an invalid name", "lan.yaml", (object) => ({ ...object, metadata: { namespace: "shop" } })],
    ["an empty file", "lan.yaml", () => ""],
    ["a truncated file", "tunnel.yaml", () => "apiVersion: l2tp.dev/v1al"],
  ])("deletes nothing because of %s", async (_what, file, damage) => {
    const whole =
      file === "lan.yaml" ? sessionObject("lan", "branch") : tunnelObject("branch", net.a, net.b);
    const damaged = damage(whole);
    a.log = "";
    a.write(file, typeof damaged === "string" ? damaged : [damaged]);
    await until("the log names the file", () => a.log.includes(file));
    expect(await ping(podA, "10.1.0.2", { count: 3 })).toBe(true);
    const { findings } = await a.ask({ op: "doctor", seconds: 0 });
    expect(findings.filter(({ severity }) => severity === "error")).not.toEqual([]);
    expect(findings.map(({ finding }) => finding).join()).not.toContain("device missing");
    expect((await a.ask({ op: "sessions" })).map(({ name }) => name)).toContain("shop/lan");
    // Deleting the file deletes the session.
    a.remove(file);
    await until("the session is deleted", async () => (await link(podA, "net1")) === undefined);
  });

  it("reads cookies only from files with mode 0600, and never shows them", async () => {
    const reference = { valueFrom: { secretKeyRef: { name: "lan", key: "rx" } } };
    a.writeSecret("shop", "lan", "rx", "a1b2c3d4\n", 0o644);
    a.write("lan.yaml", [sessionObject("lan", "branch", { cookies: { receive: reference } })]);
    await until("the session is refused", () =>
      a.condition("l2tpsession", "shop/lan", "Programmed")?.message.includes("chmod 600"),
    );
    const value = { value: "a1b2c3d4" };
    b.write("lan.yaml", [sessionObject("lan", "branch", { cookies: { transmit: value } })]);
    await until("b sends the cookie", async () => (await link(podB, "net1"))?.mtu === 1442);
    const { chmodSync } = await import("node:fs");
    chmodSync(`${a.secrets}/shop/lan/rx`, 0o600);
    await until("frames cross", () => ping(podA, "10.1.0.2"));
    expect(a.log).not.toContain("a1b2c3d4");
    expect(JSON.stringify(await a.ask({ op: "sessions" }))).not.toContain("a1b2c3d4");
  });

  it("reports the loser of a conflict, and does not change the winner", async () => {
    a.write("aaa.yaml", [sessionObject("aaa", "branch")]);
    await until("the loser's status names the winner", () =>
      a.condition("l2tpsession", "shop/aaa", "Accepted")?.message.includes("shop/lan"),
    );
    expect(await ping(podA, "10.1.0.2")).toBe(true);
  });

  it("deletes everything that l2tp-cni created, with --teardown", async () => {
    await a.kill("SIGTERM");
    expect((await a.teardown()).status).toBe(0);
    expect(await link(podA, "net1")).toBeUndefined();
    expect((await ip(net.a.name, "-o", "link")).includes("l2tp")).toBe(false);
    await until("the datapath exits", () =>
      a.datapathPid().then(
        () => false,
        () => true,
      ),
    );
  });

  it("reports a cookie mismatch by the doctor", async () => {
    const value = { value: "ffffffff" };
    a.write("lan.yaml", [sessionObject("lan", "branch", { cookies: { receive: value } })]);
    await until("the doctor reports the cookie", async () => {
      const examination = a.ask({ op: "doctor", seconds: 1 });
      await ping(podB, "10.1.0.1", { count: 3 });
      return (await examination).findings.some(({ finding }) => finding.includes("wrong cookie"));
    });
  });
});
