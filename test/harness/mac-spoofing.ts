/** Tests of spec.macSpoofing, for both datapaths. */
import { afterEach, describe, expect, it } from "vitest";
import type { TunnelSpec } from "../../operator/api/types.ts";
import { TestAgent } from "./agent.ts";
import { cni } from "./cni.ts";
import { EXPERIMENTAL, experimentalFrame, FramePort } from "./frames.ts";
import { addKernelPeer } from "./kernel-peer.ts";
import { inside, ip, link, linksOf, ping, TestNet } from "./net.ts";
import { sessionObject, tunnelObject } from "./objects.ts";
import { run, tryRun } from "./run.ts";
import { until } from "./wait.ts";

/** The offset of a frame's mark, behind the EtherType. */
const MARK_AT = 20;
const OTHER_MAC = "020000000099";

let net: TestNet;
/** The agent whose session has macSpoofing: Refuse. */
let agent: TestAgent;
let agents: TestAgent[] = [];
let ports: FramePort[] = [];
/** Each frame has its own mark: an earlier frame may still be in flight. */
let lastMark = 0;

afterEach(async () => {
  for (const port of ports) port.close();
  ports = [];
  lastMark = 0;
  for (const each of agents) await each.teardownOrKill().finally(() => each.destroy());
  agents = [];
  await net.remove();
});

const write = (tunnel: Partial<TunnelSpec>, attachment: object): void =>
  agent.write("all.yaml", [
    tunnelObject("t", net.a, net.b, tunnel),
    sessionObject("lan", "t", { attachment }),
  ]);

async function start(tunnel: Partial<TunnelSpec>, attachment: object): Promise<void> {
  net = await TestNet.create();
  agent = new TestAgent(net.a);
  agents = [agent];
  write(tunnel, attachment);
  await agent.start();
}

async function add(at: TestAgent, name: string, address: string) {
  const netns = await net.addPod(name);
  const rest = { session: "shop/lan", socket: at.socket, runtimeConfig: { ips: [address] } };
  const config = { cniVersion: "1.0.0", name: "lan", type: "l2tp", ...rest };
  const answer = await cni(at.host, { command: "ADD", netns, config, containerId: name });
  return { netns, answer };
}

/** Creates the peer, with address 10.1.0.9. */
type AddFarEnd = (tunnel: Partial<TunnelSpec>) => Promise<FramePort>;

const addFarPod: AddFarEnd = async (tunnel) => {
  const far = new TestAgent(net.b);
  agents.push(far);
  far.write("all.yaml", [tunnelObject("t", net.b, net.a, tunnel), sessionObject("lan", "t")]);
  await far.start();
  return open((await add(far, "far", "10.1.0.9/24")).netns);
};

/** A second agent would take too long to start on an emulated machine. */
const addFarKernel: AddFarEnd = async () => {
  await addKernelPeer(net.b, net.a, { address: "10.1.0.9/24" });
  return open(net.b.netns, "peer0");
};

function open(netns: string, name = "net1"): FramePort {
  const port = new FramePort(netns, name);
  ports.push(port);
  return port;
}

function frame(source: string, mark: number): Buffer {
  const bytes = experimentalFrame(60);
  bytes.write("ffffffffffff", 0, "hex");
  bytes.write(source.replaceAll(":", ""), 6, "hex");
  bytes.writeUInt16BE(mark, MARK_AT);
  return bytes;
}

/** The marks of all received frames. */
function marks(port: FramePort): number[] {
  const found: number[] = [];
  for (let bytes = port.receive(); bytes !== null; bytes = port.receive()) {
    if (bytes.toString("hex", 12, 14) === EXPERIMENTAL) found.push(bytes.readUInt16BE(MARK_AT));
  }
  return found;
}

const spoofed = async (): Promise<number> =>
  (await agent.session("shop/lan"))?.counters.txSpoofed ?? 0;

/** Sends frames with another source address, then one with the pod's own. Only the last one arrives. */
async function expectDropped(
  from: FramePort,
  to: FramePort,
  own: string,
  source = OTHER_MAC,
): Promise<void> {
  const [wrong, right] = [++lastMark, ++lastMark];
  for (let i = 0; i < 5; i++) from.send(frame(source, wrong));
  from.send(frame(own, right));
  const arrived: number[] = [];
  await until("the pod's own frame arrives", () => {
    arrived.push(...marks(to));
    return arrived.includes(right);
  });
  expect(arrived).not.toContain(wrong);
}

/** True if a frame with another source address arrives. */
const passes = (from: FramePort, to: FramePort, before: number): boolean => {
  from.send(frame(OTHER_MAC, ++lastMark));
  return marks(to).some((arrived) => arrived > before);
};

async function expectHeld(
  tunnel: Partial<TunnelSpec>,
  mode: "Direct" | "Bridge",
  pods: readonly string[],
  addFarEnd = addFarPod,
): Promise<void> {
  await start(tunnel, { mode, macSpoofing: "Refuse" });
  const to = await addFarEnd(tunnel);
  const near: string[] = [];
  for (const [index, name] of pods.entries()) {
    const { netns, answer } = await add(agent, name, `10.1.0.${index + 1}/24`);
    expect(answer.stdout).toContain(`10.1.0.${index + 1}/24`);
    near.push(netns);
  }
  for (const netns of near) await until("frames cross", () => ping(netns, "10.1.0.9"));
  const [pod = ""] = near;
  const own = (await link(pod, "net1"))?.address ?? "";
  const from = open(pod);
  await expectDropped(from, to, own);
  // A port's counter starts with the first reconcile after the ADD.
  await until("the drops are counted", async () => (await spoofed()) === 5);
  if (near[1] !== undefined) {
    // The frame must not reach the other pod of the bridge. The other pod's address is dropped, too.
    const other = open(near[1]);
    await expectDropped(from, other, own);
    const theirs = (await link(near[1], "net1"))?.address ?? "";
    await expectDropped(from, to, own, theirs);
  }

  const sending = setInterval(() => from.send(frame(OTHER_MAC, 0)), 20);
  try {
    const { findings } = await agent.ask({ op: "doctor", seconds: 1 });
    expect(findings.map(({ finding }) => finding).join()).toContain("source address");
  } finally {
    clearInterval(sending);
  }

  // The datapath filters without the agent.
  await agent.kill();
  await expectDropped(from, to, own);
  await agent.start();
  await expectDropped(from, to, own);
  expect(await ping(pod, "10.1.0.9")).toBe(true);

  write(tunnel, { mode });
  const before = lastMark;
  await until("frames from other addresses pass", () => passes(from, to, before));
  expect(await ping(pod, "10.1.0.9")).toBe(true);
  write(tunnel, { mode, macSpoofing: "Refuse" });
  await until("frames from other addresses are dropped again", async () => {
    const before = await spoofed();
    from.send(frame(OTHER_MAC, ++lastMark));
    return (await spoofed()) > before;
  });
  await expectDropped(from, to, own);
  if (mode === "Direct") return;
  const filtered = (await linksOf(net.a.name)).filter(({ ifname }) => ifname.startsWith("l2v"));
  for (const { ifname } of filtered) {
    await run(["tc", "-n", net.a.name, "qdisc", "del", "dev", ifname, "clsact"]);
  }
  await until("the filters are restored", async () => {
    from.send(frame(OTHER_MAC, ++lastMark));
    return (await spoofed()) > 0;
  });
  await expectDropped(from, to, own);
}

const DROPS = "drops a pod's frames with another source address";

export function testInUserspace(): void {
  const tunnel = { datapath: "Userspace" } as const;
  describe("macSpoofing: Refuse", () => {
    it(`${DROPS}, in mode Direct`, () => expectHeld(tunnel, "Direct", ["one"]));
    it(`${DROPS}, in mode Bridge`, () => expectHeld(tunnel, "Bridge", ["one", "two"]));
    it(`${DROPS}, on the fast path`, async () => {
      const fast = { ...tunnel, udpChecksum: false, fastPath: true };
      await expectHeld(fast, "Direct", ["one"]);
      expect((await agent.session("shop/lan"))?.fastPath).toBe(false);
    });
  });
}

export function testInKernel(): void {
  const tunnel = { datapath: "Kernel" } as const;
  describe("macSpoofing: Refuse, in the kernel", () => {
    it(`${DROPS}, in mode Bridge`, () =>
      expectHeld(tunnel, "Bridge", ["one", "two"], addFarKernel));

    it("is rejected in mode Direct, since the kernel cannot filter frames of the pod's device", async () => {
      await start(tunnel, { mode: "Direct", macSpoofing: "Refuse" });
      const { answer } = await add(agent, "one", "10.1.0.1/24");
      expect(answer.status).not.toBe(0);
      expect(answer.stdout).toContain("cannot filter frames");
      expect(agent.condition("l2tpsession", "shop/lan", "Programmed")).toMatchObject({
        status: "False",
        reason: "NoNodeSide",
      });
      expect((await tryRun(inside(net.a.name, "ip", "l2tp", "show", "session"))).stdout).toBe("");
    });

    it("programs a new tunnel of datapath Auto in userspace", async () => {
      await start({ datapath: "Auto" }, { mode: "Direct", macSpoofing: "Refuse" });
      const { netns, answer } = await add(agent, "one", "10.1.0.1/24");
      expect(answer.stdout).toContain("10.1.0.1/24");
      expect(await ip(netns, "-d", "link", "show", "net1")).toContain("tun");
      const programmed = agent.condition("l2tptunnel", "t", "Programmed");
      expect(programmed?.message).toContain("macSpoofing");
    });
  });
}
