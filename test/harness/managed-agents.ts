/** Two agents with a tunnel that has a control connection. Each has a pod on session "shop/lan". */
import { TestAgent } from "./agent.ts";
import { cni } from "./cni.ts";
import { type Host, ip, link, ping, TestNet } from "./net.ts";
import { managedSession, managedTunnel, sessionObject } from "./objects.ts";
import { until } from "./wait.ts";

export type End = 0 | 1;

export const TUNNEL = "branch";
const HELLO = { interval: "1s", deadAfter: "4s" };
const KERNEL = { datapath: "Kernel" };
const WAITS = { initiate: false, role: "LNS" };
const QUIESCENT = [
  { tunnelId: 1, peerTunnelId: 2 },
  { tunnelId: 2, peerTunnelId: 1 },
] as const;

export interface AgentPairOptions {
  readonly family: "ipv4" | "ipv6";
  readonly encapsulation: "UDP" | "IP";
}

export class ManagedAgents {
  readonly net: TestNet;
  readonly agents: readonly [TestAgent, TestAgent];
  readonly pods: readonly [string, string];
  readonly #options: AgentPairOptions;

  private constructor(net: TestNet, pods: readonly [string, string], options: AgentPairOptions) {
    this.net = net;
    this.pods = pods;
    this.#options = options;
    this.agents = [new TestAgent(net.a), new TestAgent(net.b)];
  }

  static async create(options: AgentPairOptions): Promise<ManagedAgents> {
    const net = await TestNet.create();
    return new ManagedAgents(net, [await net.addPod("left"), await net.addPod("right")], options);
  }

  async destroy(): Promise<void> {
    for (const agent of this.agents) await agent.destroy();
    await this.net.remove();
  }

  /** The object of a tunnel at a host, in the kernel unless `spec` has another datapath. */
  tunnel(name: string, local: Host, remote: Host, control: object, spec: object = {}): object {
    const { family, encapsulation } = this.#options;
    const ends = { local: { address: local[family] }, remote: { address: remote[family] } };
    const more = { encapsulation, ...ends, ...KERNEL, ...spec };
    return managedTunnel(name, local, remote, { hello: HELLO, ...control }, more);
  }

  /** Writes a managed tunnel at one end. The left end initiates. */
  write(end: End, control: object = end === 0 ? {} : WAITS, spec: object = {}): void {
    const { a, b } = this.net;
    const [local, remote] = end === 0 ? [a, b] : [b, a];
    const objects = [
      this.tunnel(TUNNEL, local, remote, control, spec),
      managedSession("lan", TUNNEL),
    ];
    this.agents[end].write("all.yaml", objects);
  }

  writeQuiescent(end: End, spec: object = {}): void {
    const { a, b } = this.net;
    const [local, remote] = end === 0 ? [a, b] : [b, a];
    const all = { ...QUIESCENT[end], ...spec };
    this.agents[end].write("all.yaml", [
      this.tunnel(TUNNEL, local, remote, { mode: "Quiescent" }, all),
      sessionObject("lan", TUNNEL),
    ]);
  }

  call(command: "ADD" | "DEL", end: End) {
    const { host, socket } = this.agents[end];
    const ips = [`10.1.0.${end + 1}/24`, `fd00:1::${end + 1}/64`];
    const config = { cniVersion: "1.0.0", name: "self", type: "l2tp", session: "shop/lan" };
    const full = { ...config, socket, runtimeConfig: { ips } };
    return cni(host, { command, netns: this.pods[end], config: full });
  }

  /** Repeats ADD until it succeeds, as a runtime does. */
  async attach(end: End): Promise<void> {
    let said = "";
    await until(
      () => `the pod has its interface: ${said}`,
      async () => {
        const { status, stdout } = await this.call("ADD", end);
        said = stdout;
        return status === 0;
      },
    );
  }

  crosses(): Promise<boolean> {
    return until("frames cross", () => ping(this.pods[0], "10.1.0.2"));
  }

  net1() {
    return link(this.pods[0], "net1");
  }

  /** Runs CHECK. @throws Error that names the difference */
  async isWhole(): Promise<true> {
    const attachment = { containerId: "c1", cniIfname: "net1" };
    await this.agents[0].ask({ op: "check", ...attachment, addresses: [], destinations: [] });
    return true;
  }

  async tunnelRow() {
    return (await this.agents[0].ask({ op: "tunnels" })).find(({ name }) => name === TUNNEL);
  }

  async agreement() {
    return (await this.agents[0].session("shop/lan"))?.control?.established;
  }

  /** The kernel's tunnels or sessions of the left host (ip-l2tp(8)). */
  inKernel(what: "tunnel" | "session"): Promise<string> {
    return ip(this.net.a.name, "l2tp", "show", what);
  }

  /** The left tunnel's ID in the kernel. It differs from the control connection ID. */
  async kernelTunnelId(): Promise<string> {
    return /Tunnel (\d+),/.exec(await this.inKernel("tunnel"))?.[1] ?? "none";
  }

  alive(end: End = 0): string | undefined {
    return this.agents[end].condition("l2tptunnel", TUNNEL, "Alive")?.status;
  }

  async killPeer(): Promise<void> {
    const [, peer] = this.agents;
    await peer.kill();
    process.kill(await peer.datapathPid(), "SIGKILL");
  }

  /** Runs `work`, which deletes the left pod's device. Waits until it is recreated, and frames cross. */
  async isMadeAnew(work: () => Promise<unknown>): Promise<void> {
    const index = (await this.net1())?.ifindex;
    await work();
    await until("the device is recreated", async () => {
      const now = (await this.net1())?.ifindex;
      return now !== undefined && now !== index;
    });
    await this.crosses();
    await until("CHECK succeeds", () => this.isWhole());
  }
}
