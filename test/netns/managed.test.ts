/** Managed tunnels between pods: manifests, an agent on each host, and CNI. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { DecodedDatagram } from "../../cli/capture/decode.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { type Host, inside, link, ping, TestNet } from "../harness/net.ts";
import { managedSession, managedTunnel } from "../harness/objects.ts";
import { run } from "../harness/run.ts";
import { Capture } from "../harness/tshark.ts";
import { until } from "../harness/wait.ts";

const L2TPCTL = fileURLToPath(new URL("../../bin/l2tpctl", import.meta.url));
const FAST = { interval: "1s", deadAfter: "3s" };

let net: TestNet;
let agents: [TestAgent, TestAgent];
let pods: [string, string];

beforeEach(async () => {
  net = await TestNet.create();
  agents = [new TestAgent(net.a), new TestAgent(net.b)];
  pods = [await net.addPod("left"), await net.addPod("right")];
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(...agents.map(({ log }) => log));
  for (const agent of agents) await agent.destroy();
  await net.remove();
});

const tunnelObject = (local: Host, remote: Host, control: object, more: object = {}) =>
  managedTunnel("branch", local, remote, control, more);
const sessionObject = (more: object = {}) => managedSession("lan", "branch", more);

/** Writes the same objects at both hosts, except that only host a initiates. */
function write(control: object, session: object = {}, theirs = control): void {
  const [a, b] = agents;
  a.write("all.yaml", [tunnelObject(net.a, net.b, control), sessionObject(session)]);
  const waits = { ...theirs, initiate: false, role: "LNS" };
  b.write("all.yaml", [tunnelObject(net.b, net.a, waits), sessionObject(session)]);
}

async function attach(index: 0 | 1): Promise<void> {
  const agent = agents[index];
  const ips = [`10.1.0.${index + 1}/24`];
  const rest = { socket: agent.socket, runtimeConfig: { ips } };
  const config = { cniVersion: "1.0.0", name: "self", type: "l2tp", session: "shop/lan", ...rest };
  const answer = await cni(agent.host, { command: "ADD", netns: pods[index], config });
  expect(answer.status, answer.stdout).toBe(0);
}

const crosses = () => until("frames cross", () => ping(pods[0], "10.1.0.2"));
const condition = (index: 0 | 1, kind: "l2tptunnel" | "l2tpsession", type: string) =>
  agents[index].condition(kind, kind === "l2tptunnel" ? "branch" : "shop/lan", type);

describe("a managed tunnel", () => {
  it("needs no IDs and cookies, and reports its state", async () => {
    write({ hello: FAST });
    for (const agent of agents) await agent.start();
    await attach(0);
    await until(
      "the peer is connected",
      () => condition(0, "l2tptunnel", "Alive")?.status === "True",
    );
    expect(condition(0, "l2tptunnel", "Alive")?.message).toBe(
      `The control connection to ${net.b.name} is established.`,
    );
    // No pod is attached at the peer.
    await until(
      "the condition reports that",
      () => condition(0, "l2tpsession", "Established")?.reason === "NotActive",
    );
    await until("the carrier is down", async () =>
      (await link(pods[0], "net1"))?.flags.includes("NO-CARRIER"),
    );
    await attach(1);
    await crosses();
    for (const index of [0, 1] as const) {
      await until(
        "the session is established",
        () => condition(index, "l2tpsession", "Established")?.status === "True",
      );
    }
    const session = await agents[0].session("shop/lan");
    expect(session?.control?.phase).toBe("established");
    expect(JSON.stringify(session)).not.toMatch(/"[rt]xCookie"/);
    expect(session?.counters).toMatchObject({ rxErrors: 0, rxCookieDiscards: 0 });
  });

  it("accepts and shows a Remote End ID that is not text", async () => {
    write({ hello: FAST }, { remoteEndIdOctets: "0xB3C5" });
    for (const agent of agents) await agent.start();
    await attach(0);
    await attach(1);
    await crosses();
    const file = join(agents[0].state, "status", "l2tpsession.shop.lan.json");
    expect(JSON.parse(readFileSync(file, "utf8")).status).toMatchObject({
      remoteEndIdOctets: "b3c5",
    });
  });

  it("authenticates with a secret, which no output shows", async () => {
    write({
      hello: FAST,
      secretRef: { namespace: "infra", name: "branch", key: "secret" },
      hideValues: true,
    });
    for (const agent of agents) {
      agent.writeSecret("infra", "branch", "secret", "correct horse battery staple\n");
      await agent.start();
    }
    await attach(0);
    await attach(1);
    await crosses();
    const rows = JSON.stringify([
      await agents[0].ask({ op: "tunnels" }),
      await agents[0].ask({ op: "dump" }),
      await agents[0].ask({ op: "sessions" }),
    ]);
    expect(rows).not.toContain(Buffer.from("correct").toString("hex"));
    expect(agents[0].log).not.toContain("correct");
  });

  it("rotates the secret at one end, then at the other", async () => {
    const refer = (...keys: string[]) =>
      keys.map((key) => ({ namespace: "infra", name: "branch", key }));
    const control = (secretRef: object, previousSecretRef?: object) => ({
      hello: FAST,
      secretRef,
      ...(previousSecretRef === undefined ? {} : { previousSecretRef }),
    });
    const [before = {}, after = {}] = refer("before", "after");
    write(control(before));
    for (const agent of agents) {
      agent.writeSecret("infra", "branch", "before", "correct horse");
      agent.writeSecret("infra", "branch", "after", "battery staple");
      await agent.start();
    }
    await attach(0);
    await attach(1);
    await crosses();
    const [a] = agents;
    const connection = async () =>
      (await a.ask({ op: "tunnels" }))[0]?.control?.localConnectionId ?? 0;
    let known = await connection();
    const [ours, theirs] = [control(after, before), control(before)];
    for (const [mine, other] of [
      [ours, theirs],
      [ours, ours],
      [control(after), ours],
      [control(after), control(after)],
    ]) {
      write(mine ?? {}, {}, other);
      await until("the tunnel reconnects", async () => {
        const now = await connection();
        return now !== 0 && now !== known;
      });
      known = await connection();
      await crosses();
    }
  });

  it("can be decoded from a capture with the secret", async () => {
    const secretRef = { namespace: "infra", name: "branch", key: "secret" };
    write({ hello: FAST, secretRef, hideValues: true });
    const capture = new Capture(net.a, join(agents[0].folder, "wire.pcap"));
    try {
      await capture.start();
      for (const agent of agents) {
        agent.writeSecret("infra", "branch", "secret", "correct horse");
        await agent.start();
      }
      await attach(0);
      await attach(1);
      await crosses();
      await capture.end();
    } finally {
      await capture.stop();
    }
    const secret = join(agents[0].secrets, "infra", "branch", "secret");
    const decode = (...args: string[]) =>
      run([L2TPCTL, "decode", capture.file, "-o", "json", ...args]);
    const messages = JSON.parse(await decode("--secret-file", secret)) as DecodedDatagram[];
    // A slow end can receive a HELLO between two steps.
    const types = messages.map(({ type }) => type).filter((type) => !/^(ACK|HELLO)$/.test(type));
    // Requests sent before the peer started are retransmitted.
    expect([...new Set(types)].slice(0, 6)).toEqual([
      "SCCRQ",
      "SCCRP",
      "SCCCN",
      "ICRQ",
      "ICRP",
      "ICCN",
    ]);
    expect(messages.every(({ isAuthentic }) => isAuthentic === true)).toBe(true);
    const call = messages.find(({ type }) => type === "ICRQ");
    expect(call?.attributes).toContain('Remote End ID "shop/lan"');
    expect(await decode()).not.toContain('Remote End ID \\"shop/lan');
  });

  it("survives an agent restart unchanged", async () => {
    write({ hello: FAST });
    for (const agent of agents) await agent.start();
    await attach(0);
    await attach(1);
    await crosses();
    const before = await agents[0].session("shop/lan");
    await agents[0].kill();
    expect(await ping(pods[0], "10.1.0.2", { count: 50 })).toBe(true);
    await agents[0].start();
    expect(await ping(pods[0], "10.1.0.2", { count: 20 })).toBe(true);
    const after = await agents[0].session("shop/lan");
    expect(after?.control?.established).toEqual(before?.control?.established);
  });

  it("detects a dead peer in time, and reconnects", async () => {
    write({ hello: FAST });
    await agents[0].start("--listen", ":9402");
    await agents[1].start();
    await attach(0);
    await attach(1);
    await crosses();
    const index = (await link(pods[0], "net1"))?.ifindex;
    await agents[1].kill();
    process.kill(await agents[1].datapathPid(), "SIGKILL");
    await until(
      "the peer is detected as down",
      () => condition(0, "l2tptunnel", "Alive")?.reason === "PeerLost",
    );
    const metrics = await run(inside(net.a.name, "curl", "-s", "http://127.0.0.1:9402/metrics"));
    expect(metrics).toContain('l2tp_cni_tunnel_alive{tunnel="branch"} 0');
    await until("the carrier is down", async () =>
      (await link(pods[0], "net1"))?.flags.includes("NO-CARRIER"),
    );
    await agents[1].start();
    await crosses();
    expect((await link(pods[0], "net1"))?.ifindex).toBe(index);
    await until(
      "the peer is connected",
      () => condition(0, "l2tptunnel", "Alive")?.status === "True",
    );
  });

  it("rejects IDs in a managed tunnel, and requires them in a static one", async () => {
    const [a] = agents;
    a.write("all.yaml", [
      tunnelObject(net.a, net.b, {}),
      sessionObject({ peerSessionId: 5 }),
      { ...sessionObject(), metadata: { name: "other", namespace: "shop" } },
    ]);
    await a.start();
    await until("the condition reports that", () =>
      a.condition("l2tpsession", "shop/lan", "Accepted")?.message.includes("omit it"),
    );
    expect(a.condition("l2tpsession", "shop/other", "Accepted")?.status).toBe("True");
    a.write("all.yaml", [tunnelObject(net.a, net.b, { mode: "Static" })]);
    await until("the tunnel requires the peer's ID", () =>
      a
        .condition("l2tptunnel", "branch", "Accepted")
        ?.message.includes("spec.peerTunnelId: required"),
    );
  });
});

describe("a quiescent tunnel", () => {
  it("is static, and reports the state of the peer", async () => {
    for (const [index, agent] of agents.entries()) {
      const other = index === 0 ? net.b : net.a;
      const control = { mode: "Quiescent", hello: FAST };
      agent.write("all.yaml", [
        tunnelObject(agent.host, other, control, { tunnelId: 7, peerTunnelId: 7 }),
        sessionObject({ sessionId: 128, peerSessionId: 128 }),
      ]);
      await agent.start();
    }
    await attach(0);
    await attach(1);
    await crosses();
    await until(
      "the peer is connected",
      () => condition(0, "l2tptunnel", "Alive")?.status === "True",
    );
    await agents[1].kill();
    process.kill(await agents[1].datapathPid(), "SIGKILL");
    await until(
      "the peer is detected as down",
      () => condition(0, "l2tptunnel", "Alive")?.status === "False",
    );
  });
});
