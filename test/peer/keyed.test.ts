/** Keyed IPv6 tunnels against QEMU's own L2TPv3 over IPv6, all with one session ID. */
import { afterEach, beforeEach, expect, it } from "vitest";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { expectEverySize, FramePort } from "../harness/frames.ts";
import {
  COOKIES,
  circuitAddress,
  keyedSession,
  keyedTunnel,
  PREFIX,
  routePrefix,
} from "../harness/keyed.ts";
import { ip, nameOf, ping, TestNet } from "../harness/net.ts";
import { startQemu } from "../harness/qemu.ts";
import { Background } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

let net: TestNet;
let agent: TestAgent;
const qemu = new Background();

beforeEach(async () => {
  net = await TestNet.create();
  agent = new TestAgent(net.a);
  await routePrefix(net.b, net.a);
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(agent.log);
  await qemu.stopAll();
  await agent.destroy();
  await net.remove();
});

it("distinguishes QEMUs with equal IDs by their addresses", async () => {
  const second = "2001:db8::22";
  await ip(net.b.name, "addr", "add", `${second}/64`, "dev", net.b.device, "nodad");
  // One remote has two circuits, and one local address has two remotes.
  const circuits = [
    { name: "one", local: circuitAddress(0), remote: net.b.ipv6 },
    { name: "two", local: circuitAddress(1), remote: net.b.ipv6 },
    { name: "three", local: circuitAddress(1), remote: second },
  ];
  agent.write(
    "all.yaml",
    circuits.flatMap(({ name, local: address, remote }) => [
      keyedTunnel(name, net.a.name, {
        local: { address, prefix: PREFIX },
        remote: { address: remote },
      }),
      keyedSession(name),
    ]),
  );
  await agent.start();
  for (const [index, { name, local, remote }] of circuits.entries()) {
    await until(`session ${name} is programmed`, async () =>
      (await agent.session(`shop/${name}`))?.conditions.some(
        ({ type, status }) => type === "Programmed" && status === "True",
      ),
    );
    const pod = await net.addPod(name);
    const runtimeConfig = { ips: [`10.${index}.0.1/24`] };
    const rest = { session: `shop/${name}`, socket: agent.socket, runtimeConfig };
    const config = { cniVersion: "1.0.0", name: "keyed", type: "l2tp", ...rest };
    const call = { command: "ADD", netns: pod, containerId: nameOf(pod), config };
    const answer = await cni(net.a, call);
    expect(answer.status, answer.stdout).toBe(0);
    const device = `qtap${index}`;
    const ends = `src=${remote},dst=${local},ipv6=on,udp=off`;
    const ids = "rxsession=0xffffffff,txsession=0xffffffff,counter=off,cookie64=on";
    const { receive, transmit } = COOKIES;
    const cookies = `txcookie=0x${receive.value},rxcookie=0x${transmit.value}`;
    await startQemu(qemu, net.b, device, `${ends},${ids},${cookies}`);
    await ip(net.b.name, "addr", "add", `10.${index}.0.2/24`, "dev", device);
    await ip(net.b.name, "link", "set", device, "mtu", "1400", "up");
    await until(`frames of ${name} cross`, () => ping(pod, `10.${index}.0.2`));
    const ours = new FramePort(pod, "net1");
    const theirs = new FramePort(net.b.netns, device);
    await expectEverySize(ours, theirs, 200);
    await expectEverySize(theirs, ours, 200);
    ours.close();
    theirs.close();
  }
  for (const { name } of circuits) {
    const { counters } = (await agent.session(`shop/${name}`)) ?? { counters: {} };
    expect(counters).toMatchObject({ rxErrors: 0, rxSourceMismatch: 0, txErrors: 0 });
  }
});
