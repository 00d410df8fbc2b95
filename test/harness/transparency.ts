/** Tests of outer header fields and of frames to reserved groups, for both datapaths. */
import { afterEach, describe, expect, it } from "vitest";
import type { TunnelSpec } from "../../operator/api/types.ts";
import { TestAgent } from "./agent.ts";
import { cni } from "./cni.ts";
import { EXPERIMENTAL, experimentalFrame, FramePort } from "./frames.ts";
import { addKernelPeer } from "./kernel-peer.ts";
import { type Host, inside, ping, TestNet } from "./net.ts";
import { sessionObject } from "./objects.ts";
import { congested, packetWith } from "./outer-headers.ts";
import { Background, stop } from "./run.ts";
import { type Family, tunnelBy } from "./tunnel-by.ts";
import { until } from "./wait.ts";

const FAMILIES: readonly Family[] = ["ipv4", "ipv6"];
/** DSCP EF, and ECT(1). */
const TRAFFIC_CLASS = 0xb9;
const INNER_HOPS = 7;
const DEFAULT_HOPS = 64;
const OCTETS = "c0ffeec0ffee";
/** Groups that bridges do not forward (IEEE 802.1Q, table 8-1); the last octet is the group's number. */
const RESERVED_GROUP = "0180c20000";
const GROUPS = Array.from({ length: 16 }, (_, number) => number);
const STP = 0;

let net: TestNet;
let agents: TestAgent[] = [];
let ports: FramePort[] = [];
const background = new Background();

afterEach(async (context) => {
  if (context.task.result?.state === "fail") for (const { log } of agents) console.log(log);
  await background.stopAll();
  for (const port of ports) port.close();
  for (const each of agents) await each.teardownOrKill().finally(() => each.destroy());
  [ports, agents] = [[], []];
  await net.remove();
});

function open(netns: string, name = "net1"): FramePort {
  const port = new FramePort(netns, name);
  ports.push(port);
  return port;
}

async function attach(at: Host, tunnel: object, attachment: object, address: string) {
  const agent = new TestAgent(at);
  agents.push(agent);
  agent.write("all.yaml", [tunnel, sessionObject("lan", "t", { attachment })]);
  await agent.start();
  const netns = await net.addPod(`pod${agents.length}`);
  const rest = { session: "shop/lan", socket: agent.socket, runtimeConfig: { ips: [address] } };
  const config = { cniVersion: "1.0.0", name: "lan", type: "l2tp", ...rest };
  const answer = await cni(at, { command: "ADD", netns, config });
  expect(answer.status, answer.stdout).toBe(0);
  return { agent, netns };
}

interface Pair {
  readonly pod: string;
  /** The namespace and the device of the far end. */
  readonly far: readonly [string, string];
}

/** Attaches a pod. The far end is a pod of another agent, or a device of the kernel. */
async function join(
  change: Partial<TunnelSpec>,
  family: Family,
  isKernel: boolean,
  mode = "Direct",
): Promise<Pair> {
  net = await TestNet.create();
  const unchecked = { udpChecksum: false, ...change };
  const near = tunnelBy(family, net.a, net.b, unchecked);
  const { netns: pod, agent } = await attach(net.a, near, { mode }, "10.1.0.1/24");
  const far = await addFar(unchecked, family, isKernel);
  await until("frames cross", () => ping(pod, "10.1.0.2"));
  if (change.fastPath) {
    await until(
      "the session is on the fast path",
      async () => (await agent.session("shop/lan"))?.fastPath === true,
    );
  }
  return { pod, far };
}

async function addFar(
  change: Partial<TunnelSpec>,
  family: Family,
  isKernel: boolean,
): Promise<readonly [string, string]> {
  if (isKernel) {
    const ipVersion = family === "ipv4" ? 4 : 6;
    await addKernelPeer(net.b, net.a, { ipVersion, udpChecksum: false, address: "10.1.0.2/24" });
    return [net.b.netns, "peer0"];
  }
  const tunnel = tunnelBy(family, net.b, net.a, change);
  const { netns } = await attach(net.b, tunnel, {}, "10.1.0.2/24");
  return [netns, "net1"];
}

export function testHeaders(change: Partial<TunnelSpec>, isKernel: boolean): void {
  describe("the outer IP header", () => {
    it.each(FAMILIES)(
      "copies no DSCP, ECN or DF from the inner header, nor to it: %s",
      async (family) => {
        const { pod, far } = await join(change, family, isKernel);
        const wire = open(net.b.netns, net.b.device);
        const end = open(...far);
        const asked = ["-Q", String(TRAFFIC_CLASS), "-t", String(INNER_HOPS), "-p", OCTETS];
        const child = background.start(inside(pod, "ping", "-i", "0.2", ...asked, "10.1.0.2"));
        const octets = Buffer.from(OCTETS, "hex");
        const outside = await packetWith(wire, octets);
        expect(outside).toMatchObject({ trafficClass: 0, hopLimit: DEFAULT_HOPS });
        if (family === "ipv4") expect(outside.dontFragment).toBe(false);
        const inner = { trafficClass: TRAFFIC_CLASS, hopLimit: INNER_HOPS };
        expect(await packetWith(end, octets)).toMatchObject(inner);
        await stop(child);
        while (end.receive() !== null);
        // Congestion on the path is not reported to the pods (RFC 6040 would).
        open(net.a.netns, net.a.device).send(congested(outside));
        expect(await packetWith(end, octets)).toMatchObject(inner);
      },
    );
  });
}

function groupFrame(group: number): Buffer {
  const frame = experimentalFrame(60);
  frame.write(`${RESERVED_GROUP}0${group.toString(16)}`, 0, "hex");
  return frame;
}

/** The groups whose frames arrive. A broadcast frame is sent last. */
async function arriving(from: FramePort, to: FramePort): Promise<number[]> {
  const last = experimentalFrame(60);
  last.write("ffffffffffff", 0, "hex");
  for (const group of GROUPS) from.send(groupFrame(group));
  from.send(last);
  const arrived: number[] = [];
  await until("the last frame arrives", () => {
    for (let frame = to.receive(); frame !== null; frame = to.receive()) {
      if (frame.toString("hex", 12, 14) !== EXPERIMENTAL) continue;
      if (frame.toString("hex", 0, 6) === "ffffffffffff") return true;
      if (frame.toString("hex", 0, 5) === RESERVED_GROUP) arrived.push(frame.readUInt8(5));
    }
    return false;
  });
  return arrived;
}

export function testGroups(change: Partial<TunnelSpec>, isKernel: boolean): void {
  describe("frames to reserved groups (LACP, EAPOL, LLDP, …)", () => {
    it.each([
      ["Direct", GROUPS],
      ["Bridge", [STP]],
    ] as const)("pass in mode %s: %j", async (mode, expected) => {
      const { pod, far } = await join(change, "ipv4", isKernel, mode);
      const [near, end] = [open(pod), open(...far)];
      expect(await arriving(near, end)).toEqual(expected);
      expect(await arriving(end, near)).toEqual(expected);
    });
  });
}
