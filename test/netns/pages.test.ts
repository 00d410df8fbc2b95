/** A flood of requests for the agent's pages, and its cost for others. */
import { fileURLToPath } from "node:url";
import { afterEach, expect, it } from "vitest";
import { TestAgent } from "../harness/agent.ts";
import { inside, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { Background, run } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

const FLOOD = fileURLToPath(new URL("../harness/request-flood.ts", import.meta.url));
const CONNECTIONS = "32";
const OTHER_PORT = "9500";
const SESSIONS = 200;
const TURNS = 3;
const CALLS = 12;

let net: TestNet;
let agent: TestAgent;
const background = new Background();

afterEach(async () => {
  await background.stopAll();
  await agent.destroy();
  await net.remove();
});

/** Runs a program on host a, and waits until it prints the word. */
async function start(word: string, ...args: string[]): Promise<void> {
  let output = "";
  background.start(inside(net.a.name, process.execPath, FLOOD, ...args), (text) => {
    output += text;
  });
  await until(`${word}: ${output}`, () => output.includes(word));
}

/** Median milliseconds to attach and detach a pod. */
async function attachAndDetach(netns: string): Promise<number> {
  const times: number[] = [];
  for (let call = 0; call < CALLS; call++) {
    const whose = { containerId: "c1", cniIfname: "net1", ifname: "net1" };
    const began = performance.now();
    await agent.ask({
      op: "attach",
      ...{ ...whose, netns, pod: null, session: "shop/s0", network: "flooded" },
      ...{ mac: null, addresses: ["10.1.0.1/24"], routes: [], ipam: null },
    });
    await agent.ask({ op: "detach", ...whose, netns });
    times.push(performance.now() - began);
  }
  return median(times);
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

it("slows attaching and detaching no more than a flood of another process's page", async () => {
  net = await TestNet.create();
  agent = new TestAgent(net.a);
  agent.write("all.yaml", [
    tunnelObject("t", net.a, net.b),
    ...Array.from({ length: SESSIONS }, (_, index) =>
      sessionObject(`s${index}`, "t", { sessionId: index + 1, peerSessionId: index + 1 }),
    ),
  ]);
  await agent.start("--listen", ":9402");
  await until("all sessions are known", () => agent.session(`shop/s${SESSIONS - 1}`));
  const pod = await net.addPod("pod");
  const ratios: number[] = [];
  for (let turn = 0; turn < TURNS; turn++) {
    await start("serving", "serve", OTHER_PORT);
    await start("flooding", `http://127.0.0.1:${OTHER_PORT}/`, CONNECTIONS);
    const beside = await attachAndDetach(pod);
    await background.stopAll();
    await start("flooding", "http://127.0.0.1:9402/metrics", CONNECTIONS);
    const under = await attachAndDetach(pod);
    // Probes are answered during the flood.
    const probe = await run(inside(net.a.name, "curl", "-sS", "http://127.0.0.1:9402/healthz"));
    expect(probe).toBe("ok\n");
    await background.stopAll();
    ratios.push(under / beside);
  }
  expect(median(ratios)).toBeLessThan(2);
});
