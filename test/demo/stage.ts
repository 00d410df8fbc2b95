/** The frame of a demonstration: prints its steps and results, and removes everything. */
import type { TestAgent } from "../harness/agent.ts";
import { type CniAnswer, cni } from "../harness/cni.ts";
import { cleanUpWhenInterrupted } from "../harness/interrupted.ts";
import { ping, TestNet } from "../harness/net.ts";
import { Background, run } from "../harness/run.ts";

export const say = (text: string) => console.log(`\n▸ ${text}`);
export const show = (text: string) => console.log(text.trimEnd().replaceAll(/^/gm, "    "));

export interface Stage {
  readonly net: TestNet;
  /** The demo's end stops these agents. */
  readonly agents: TestAgent[];
  readonly servers: Background;
}

/** Runs the demo, cleans up, and exits the process. */
export async function perform(demo: (stage: Stage) => Promise<void>): Promise<never> {
  if (process.geteuid?.() !== 0) {
    console.error("The demo must run as root: it creates network namespaces and TAP devices.");
    process.exit(2);
  }
  cleanUpWhenInterrupted();
  const stage: Stage = { net: await TestNet.create(), agents: [], servers: new Background() };
  let status = 0;
  try {
    await demo(stage);
    say("Done. Removing everything.");
  } catch (error) {
    console.error(`\nThe demo failed: ${error instanceof Error ? error.message : error}`);
    for (const { log } of stage.agents) console.error(log);
    status = 1;
  } finally {
    await stage.servers.stopAll();
    for (const agent of stage.agents) {
      await agent.kill("SIGTERM");
      await agent.teardown();
      await agent.destroy();
    }
    await stage.net.remove();
  }
  process.exit(status);
}

/** The output of l2tpctl on an agent's host. */
export function l2tpctl({ socket }: TestAgent, ...args: string[]): Promise<string> {
  return run(["bin/l2tpctl", "--socket", socket, ...args]);
}

/** Attaches a pod, as a container runtime does. @param pod "namespace/name" */
export async function attach(
  agent: TestAgent,
  netns: string,
  pod: string,
  session: string,
  runtimeConfig: object,
): Promise<void> {
  const rest = { session, socket: agent.socket, runtimeConfig };
  const config = { cniVersion: "1.0.0", name: "demo", type: "l2tp", ...rest };
  const call = { command: "ADD", netns, pod, containerId: pod.replace("/", "-"), config };
  const answer: CniAnswer = await cni(agent.host, call);
  if (answer.status !== 0) throw new Error(`ADD: ${answer.stdout}${answer.stderr}`);
  const { json } = answer;
  show(`${pod}: ${json.interfaces[0].name} ${json.interfaces[0].mac} ${json.ips[0].address}`);
}

/** Sends pings. @returns a summary @throws Error if one is lost */
export async function pings(netns: string, address: string): Promise<string> {
  const count = 200;
  if (await ping(netns, address, { count, args: ["-i", "0.005"] })) {
    return `${count} pings to ${address}, ${count} replies`;
  }
  throw new Error(`a ping to ${address} is lost`);
}
