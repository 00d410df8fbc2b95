/** Programs whose output pipe is closed: the plugin exits silently, agent and datapath keep running. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, it } from "vitest";
import { RpcClient } from "../../rpc/client.ts";
import { TestAgent } from "../harness/agent.ts";
import { PLUGIN } from "../harness/cni.ts";
import { inside, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { Background, tryRun } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

const DATAPATH = fileURLToPath(new URL("../../bin/l2tp-datapath", import.meta.url));

let net: TestNet;
let agent: TestAgent;
const background = new Background();

beforeEach(async () => {
  net = await TestNet.create();
  agent = new TestAgent(net.a);
  execFileSync("mkfifo", [join(agent.folder, "gone")]);
});

afterEach(async () => {
  await background.stopAll();
  await agent.destroy();
  await net.remove();
});

/** A command that runs another after the reader of its output has exited. @param redirected such as "2>&1" */
function unread(redirected: string, ...command: string[]): string[] {
  const script = `exec 3>&1; { cat "$0/gone"; "$@" ${redirected}; echo $? >&3; } |
    { exec <&-; echo >"$0/gone"; }`;
  return ["sh", "-c", script, agent.folder, ...command];
}

it.each([
  ["--version", {}],
  ["VERSION", { CNI_COMMAND: "VERSION" }],
])("the plugin: %s", async (argument, env) => {
  const command = unread("2>&3", PLUGIN, argument);
  const { stdout } = await tryRun(command, { env: { PATH: process.env.PATH, ...env } });
  expect(stdout).toBe("0\n");
});

it("a datapath process keeps forwarding frames", async () => {
  const socket = join(agent.folder, "datapath.sock");
  // The process logs at once that the option is ignored.
  background.start(
    inside(net.a.name, ...unread("2>&1", DATAPATH, "--socket", socket, "--threads", "2")),
  );
  const client = await until("the datapath answers", () => RpcClient.connect(socket, 10_000, 1000));
  const { pid } = (await client.request({ op: "hello" }, 60_000)) as { pid: number };
  client.close();
  process.kill(pid, "SIGKILL");
});

it("an agent and its datapath process keep running", async () => {
  const objects = [tunnelObject("t", net.a, net.b), sessionObject("lan", "t")];
  agent.write("all.yaml", objects);
  const [program = "", ...args] = agent.command("--datapath", "userspace");
  background.start(unread("2>&1", program, ...args));
  const ready = () => agent.ask({ op: "ready" }).then(() => true);
  await until("the agent is ready", ready);
  // Each reconcile logs a problem.
  agent.write("broken.yaml", "kind: L2tpTunnel");
  await until("the agent has read the folder", async () => {
    agent.write("all.yaml", [...objects, sessionObject("more", "t", { sessionId: 9 })]);
    return agent.session("shop/more");
  });
  expect(await ready()).toBe(true);
  expect(await agent.datapathPid()).toBeGreaterThan(0);
});
