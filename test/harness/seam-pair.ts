/** Two agents of a copied source tree, with one pod each. */
import { join } from "node:path";
import { afterEach, beforeEach, expect } from "vitest";
import { TestAgent } from "./agent.ts";
import { type CniAnswer, cni } from "./cni.ts";
import { ping, TestNet } from "./net.ts";
import type { SourceTree } from "./tree.ts";
import { until } from "./wait.ts";

export class SeamPair {
  readonly net: TestNet;
  readonly agents: readonly [TestAgent, TestAgent];
  readonly pods: readonly [string, string];

  private constructor(net: TestNet, program: string, pods: readonly [string, string]) {
    this.net = net;
    this.agents = [new TestAgent(net.a, program), new TestAgent(net.b, program)];
    this.pods = pods;
  }

  static async create(tree: SourceTree): Promise<SeamPair> {
    const net = await TestNet.create();
    const pods = [await net.addPod("left"), await net.addPod("right")] as const;
    return new SeamPair(net, join(tree.path, "bin/l2tp-agent"), pods);
  }

  /** Writes the objects of both ends. */
  write(left: readonly object[], right: readonly object[]): void {
    this.agents[0].write("all.yaml", left);
    this.agents[1].write("all.yaml", right);
  }

  async start(): Promise<void> {
    for (const agent of this.agents) await agent.start();
  }

  /** Calls ADD for the session shop/lan. @param netns the pod; the default is the agent's pod */
  add(index: 0 | 1, netns = this.pods[index], containerId = "c1"): Promise<CniAnswer> {
    const { host, socket } = this.agents[index];
    const runtimeConfig = { ips: [`10.1.0.${index + 1}/24`] };
    const named = { name: "seam", type: "l2tp", session: "shop/lan" };
    const config = { cniVersion: "1.0.0", ...named, socket, runtimeConfig };
    return cni(host, { command: "ADD", netns, containerId, config });
  }

  async attach(): Promise<void> {
    for (const index of [0, 1] as const) {
      const answer = await this.add(index);
      expect(answer.status, answer.stdout).toBe(0);
    }
  }

  crosses(): Promise<unknown> {
    return until("frames cross", () => ping(this.pods[0], "10.1.0.2"));
  }

  async destroy(): Promise<void> {
    for (const agent of this.agents) await agent.destroy();
    await this.net.remove();
  }
}

/** Creates a pair for each test, and prints the agents' logs if the test fails. @returns the current pair */
export function pairForEach(tree: () => SourceTree): () => SeamPair {
  let pair: SeamPair;
  beforeEach(async () => {
    pair = await SeamPair.create(tree());
  });
  afterEach(async (context) => {
    if (context.task.result?.state === "fail") console.log(...pair.agents.map(({ log }) => log));
    await pair.destroy();
  });
  return () => pair;
}

/** Generates the API types, as `make generate` does after a change of crds/. */
export function generateTypes(tree: SourceTree): void {
  const program = `
    import { writeFileSync } from "node:fs";
    import { generateTypes, TYPES } from "./operator/api/generate/types.ts";
    writeFileSync(TYPES, await generateTypes());`;
  tree.run(process.execPath, "--input-type=module", "-e", program);
}

/** The files in which the compiler finds errors. */
export function compilerSays(tree: SourceTree): string[] {
  try {
    tree.run(join(tree.path, "node_modules/.bin/tsc"), "-p", ".");
    return [];
  } catch (error) {
    const found = String(error).matchAll(/^([^\s(]+)\(\d+,\d+\): error TS/gm);
    return [...new Set(Array.from(found, ([, file = ""]) => file))];
  }
}

/** Runs the compiler over the tree, and unit tests, among them the plan's property test. */
export function check(tree: SourceTree, ...tests: readonly string[]): void {
  const bin = join(tree.path, "node_modules/.bin");
  tree.run(join(bin, "tsc"), "-p", ".");
  tree.run(join(bin, "vitest"), "run", "--project", "unit", "model/plan.test.ts", ...tests);
}
