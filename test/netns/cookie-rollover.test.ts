/** Changes a cookie during traffic. The wrong order loses frames, and is reported (RFC 8159, section 3). */
import { afterEach, beforeEach, expect, it } from "vitest";
import type { SessionSpec } from "../../operator/api/types.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { inside, ping, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { Background } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

type Cookies = NonNullable<SessionSpec["cookies"]>;

const OLD = { value: "1111111122222222" };
const NEW = { value: "3333333344444444" };
const BACK = { value: "5555555566666666" };

let net: TestNet;
let agents: [TestAgent, TestAgent];
let pods: [string, string];
const background = new Background();

beforeEach(async () => {
  net = await TestNet.create();
  agents = [new TestAgent(net.a), new TestAgent(net.b)];
  pods = [await net.addPod("left"), await net.addPod("right")];
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(...agents.map(({ log }) => log));
  await background.stopAll();
  for (const agent of agents) await agent.destroy();
  await net.remove();
});

function write(index: 0 | 1, cookies: Cookies, tunnel: object = { datapath: "Userspace" }): void {
  const [local, remote] = index === 0 ? [net.a, net.b] : [net.b, net.a];
  const plain = { udpChecksum: true, fastPath: false, ...tunnel } as const;
  agents[index].write("all.yaml", [
    tunnelObject("t", local, remote, plain),
    sessionObject("lan", "t", { cookies }),
  ]);
}

async function startBoth(left: Cookies, right: Cookies): Promise<void> {
  write(0, left);
  write(1, right);
  for (const index of [0, 1] as const) {
    await agents[index].start();
    const rest = { session: "shop/lan", socket: agents[index].socket };
    const runtimeConfig = { ips: [`10.1.0.${index + 1}/24`] };
    const config = { cniVersion: "1.0.0", name: "lan", type: "l2tp", ...rest, runtimeConfig };
    const call = { command: "ADD", netns: pods[index], containerId: "c1", config };
    const answer = await cni(agents[index].host, call);
    expect(answer.status, answer.stdout).toBe(0);
  }
  await until("frames cross", () => ping(pods[0], "10.1.0.2"));
}

const countersOf = async (index: 0 | 1) =>
  (await agents[index].session("shop/lan"))?.counters ?? {};

/** Waits until the counter has grown by the given number. */
async function grows(index: 0 | 1, name: string, by = 5): Promise<void> {
  const before = (await countersOf(index))[name] ?? 0;
  await until(`${name} grows`, async () => ((await countersOf(index))[name] ?? 0) >= before + by);
}

async function findings(index: 0 | 1): Promise<string> {
  const examined = await agents[index].ask({ op: "doctor", seconds: 1 });
  return examined.findings.map(({ finding, remedy }) => `${finding}; ${remedy}`).join("\n");
}

it("loses no frame if the receiver changes first, and reports when the previous cookie can be removed", async () => {
  await startBoth({ receive: OLD, transmit: BACK }, { receive: BACK, transmit: OLD });
  const pings = inside(pods[1].replace(/.*\//, ""), "ping", "-i", "0.02", "-q", "10.1.0.1");
  let said = "";
  const pinging = background.start(pings, (text) => {
    said += text;
  });
  await grows(0, "rxPackets");
  write(0, { receive: NEW, receivePrevious: OLD, transmit: BACK });
  await grows(0, "rxPreviousCookie");
  expect(await findings(0)).toMatch(/frames? came with the previous cookie; set the peer's/);
  write(1, { receive: BACK, transmit: NEW });
  await until("the new cookie is used", async () => {
    const before = await countersOf(0);
    await grows(0, "rxPackets");
    return (await countersOf(0)).rxPreviousCookie === before.rxPreviousCookie;
  });
  expect(await findings(0)).not.toContain("cookie");
  write(0, { receive: NEW, transmit: BACK });
  // Longer than a reconcile pass.
  await grows(0, "rxPackets", 150);
  pinging.kill("SIGINT");
  await until("ping has ended", () => said.includes("packet loss"));
  expect(said).toContain(" 0% packet loss");
  expect(await countersOf(0)).toMatchObject({ rxCookieDiscards: 0, rxErrors: 0 });
});

it("reports the error if the sender changes first, and recovers", async () => {
  await startBoth({ receive: OLD, transmit: BACK }, { receive: BACK, transmit: OLD });
  write(1, { receive: BACK, transmit: NEW });
  await until("frames are dropped", async () => {
    await ping(pods[1], "10.1.0.1");
    return ((await countersOf(0)).rxCookieDiscards ?? 0) > 0;
  });
  const pinging = ping(pods[1], "10.1.0.1", { count: 20 });
  expect(await findings(0)).toMatch(
    /received \d+ frames? with a wrong cookie; set the peer's transmit cookie/,
  );
  await pinging;
  write(0, { receive: NEW, receivePrevious: OLD, transmit: BACK });
  await until("frames cross again", () => ping(pods[1], "10.1.0.1"));
  // If both cookies are equal, the session does not change.
  write(0, { receive: NEW, receivePrevious: NEW, transmit: BACK });
  await until("the object is rejected", () =>
    agents[0]
      .condition("l2tpsession", "shop/lan", "Accepted")
      ?.message.includes("duplicates spec.cookies.receive"),
  );
  expect(JSON.stringify(agents[0].log)).not.toContain(NEW.value);
});
