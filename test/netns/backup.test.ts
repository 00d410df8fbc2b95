/** A managed tunnel with a backup: three hosts with their agents, and a pod on each. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { type Host, link, ping, TestNet } from "../harness/net.ts";
import { managedSession, managedTunnel } from "../harness/objects.ts";
import { until } from "../harness/wait.ts";

const HELLO = { interval: "1s", deadAfter: "2s" };
/** The same host is behind both hubs. */
const SERVICE = { ip: "10.1.0.2", mac: "02:00:5e:00:53:01" };

let net: TestNet;
let spoke: TestAgent;
let primary: TestAgent;
let backup: TestAgent;
let pod: string;
let hubPods: string[];

function write(agent: TestAgent, remote: Host, control: object, more: object = {}): void {
  // The default would be the source address of the route to the remote.
  const local = { address: agent.host.ipv4 };
  agent.write("all.yaml", [
    managedTunnel("hub", agent.host, remote, control, { local, ...more }),
    managedSession("lan", "hub"),
  ]);
}

function configOf(agent: TestAgent, runtimeConfig: object): object {
  const rest = { socket: agent.socket, runtimeConfig };
  return { cniVersion: "1.0.0", name: "hub", type: "l2tp", session: "shop/lan", ...rest };
}

const hubConfig = (agent: TestAgent) =>
  configOf(agent, { ips: [`${SERVICE.ip}/24`], mac: SERVICE.mac });

async function attach(agent: TestAgent, config: object, name: string): Promise<string> {
  const netns = await net.addPod(name);
  const answer = await cni(agent.host, { command: "ADD", netns, config });
  expect(answer.status, answer.stdout).toBe(0);
  return netns;
}

beforeEach(async () => {
  net = await TestNet.create();
  const third = await net.addHost();
  spoke = new TestAgent(net.a);
  primary = new TestAgent(net.b);
  backup = new TestAgent(third);
  write(spoke, net.b, { hello: HELLO }, { backup: [{ address: third.ipv4 }] });
  for (const hub of [primary, backup]) {
    write(hub, net.a, { hello: HELLO, initiate: false, role: "LNS" });
    await hub.start();
  }
  await spoke.start();
  pod = await attach(spoke, configOf(spoke, { ips: ["10.1.0.1/24"] }), "spoke");
  hubPods = [];
  for (const [index, hub] of [primary, backup].entries()) {
    hubPods.push(await attach(hub, hubConfig(hub), `hub-${index}`));
  }
  await until(
    "the remote and the backup are established",
    () => condition("Redundant")?.status === "True",
  );
  await crosses();
});

afterEach(async (context) => {
  const all = [spoke, primary, backup];
  if (context.task.result?.state === "fail") console.log(...all.map(({ log }) => log));
  for (const agent of all) await agent.destroy();
  await net.remove();
});

const crosses = () => until("frames cross", () => ping(pod, SERVICE.ip));
const condition = (type: string) => spoke.condition("l2tptunnel", "hub", type);
const frames = async (agent: TestAgent) =>
  (await agent.session("shop/lan"))?.counters.rxPackets ?? 0;
const row = async () => (await spoke.ask({ op: "tunnels" }))[0];

async function die(hub: TestAgent): Promise<void> {
  await hub.kill();
  const pid = await hub.datapathPid();
  process.kill(pid, "SIGKILL");
  // The process's BPF programs forward frames until it exits.
  await until("the datapath exits", () => {
    try {
      return process.kill(pid, 0) && false;
    } catch {
      return true;
    }
  });
}

describe("a tunnel with a backup", () => {
  it("keeps the backup on standby, fails over and back, and does not change the pod's interface", async () => {
    expect(await frames(backup)).toBe(0);
    await until(
      "the backup reports standby",
      () => backup.condition("l2tpsession", "shop/lan", "Established")?.reason === "Standby",
    );
    const index = (await link(pod, "net1"))?.ifindex;

    await die(primary);
    await crosses();
    expect(await frames(backup)).toBeGreaterThan(0);
    expect((await row())?.remote).toBe(`${backup.host.ipv4}:1701`);
    await until(
      "the condition reports the failover",
      () => condition("Redundant")?.reason === "OnBackup",
    );
    expect(condition("Redundant")?.message).toMatch(
      /^192\.0\.2\.2 is down: .*; 198\.51\.100\.3 is active\.$/,
    );
    expect(condition("Alive")?.status).toBe("True");

    await primary.start();
    await until(
      "the tunnel fails back to the remote",
      () => condition("Redundant")?.status === "True",
    );
    const before = await frames(primary);
    await crosses();
    expect(await frames(primary)).toBeGreaterThan(before);
    await until(
      "the backup is on standby",
      () => backup.condition("l2tpsession", "shop/lan", "Established")?.reason === "Standby",
    );
    expect((await link(pod, "net1"))?.ifindex).toBe(index);
  });

  it("fails over when no pod is attached at the remote, and back when one is", async () => {
    const call = { command: "DEL", netns: hubPods[0] ?? "", config: hubConfig(primary) };
    expect((await cni(primary.host, call)).status).toBe(0);
    await crosses();
    expect((await row())?.control?.active).toBe(1);
    await cni(primary.host, { ...call, command: "ADD" });
    await until(
      "the tunnel fails back to the remote",
      async () => (await row())?.control?.active === 0,
    );
    await crosses();
  });

  it("survives an agent restart, and accepts another list of backups during failover", async () => {
    await die(primary);
    await crosses();
    await spoke.kill();
    await spoke.start();
    expect(await ping(pod, SERVICE.ip, { count: 20 })).toBe(true);
    const before = (await row())?.control?.localConnectionId;
    // The backup becomes the remote: the active path does not change.
    write(spoke, backup.host, { hello: HELLO }, { backup: [{ address: net.b.ipv4 }] });
    await until("the backup is the remote", async () => {
      const control = (await row())?.control;
      return control?.active === 0 && control.remote.address === backup.host.ipv4;
    });
    expect((await row())?.control?.localConnectionId).toBe(before);
    expect(await ping(pod, SERVICE.ip, { count: 20 })).toBe(true);
  });

  it("reports that the backup is down, and loses no frame", async () => {
    await die(backup);
    await until(
      "the condition reports the loss",
      () => condition("Redundant")?.reason === "BackupLost",
    );
    expect(condition("Alive")?.status).toBe("True");
    expect(await ping(pod, SERVICE.ip, { count: 20 })).toBe(true);
  });

  it("has no carrier when all peers are down, and uses the first that recovers", async () => {
    await die(primary);
    await die(backup);
    await until("the carrier is down", async () =>
      (await link(pod, "net1"))?.flags.includes("NO-CARRIER"),
    );
    await until("Alive is False", () => condition("Alive")?.status === "False");
    await backup.start();
    await crosses();
    await until(
      "the condition reports the failover",
      () => condition("Redundant")?.reason === "OnBackup",
    );
  });

  it("keeps unchanged connections when the list of backups changes", async () => {
    const established = (await row())?.control?.localConnectionId;
    write(spoke, net.b, { hello: HELLO });
    await until("the condition is removed", () => condition("Redundant") === undefined);
    expect((await row())?.control?.localConnectionId).toBe(established);
    await until(
      "the backup is disconnected",
      () => backup.condition("l2tptunnel", "hub", "Alive")?.status === "False",
    );
    expect(await ping(pod, SERVICE.ip, { count: 20 })).toBe(true);
  });
});
