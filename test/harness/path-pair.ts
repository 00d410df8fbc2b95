/** Two agents with pods on a session, over a path whose MTU changes. */
import { expect } from "vitest";
import type { SessionSpec, TunnelSpec } from "../../operator/api/types.ts";
import { TestAgent } from "./agent.ts";
import { type CniAnswer, cni } from "./cni.ts";
import { Flow } from "./flows.ts";
import { type Host, link, ping } from "./net.ts";
import { sessionObject, tunnelObject } from "./objects.ts";
import { type PathLink, RoutedNet } from "./routed-net.ts";
import { until } from "./wait.ts";

export const WIDE = 1500;
export const NARROW = 1300;
/** Bytes of the inner IPv4 and ICMP headers. */
const PING_OVERHEAD = 28;

export interface Wire {
  readonly encapsulation: "UDP" | "IP";
  readonly family: "ipv4" | "ipv6";
}

const PLAIN: Wire = { encapsulation: "UDP", family: "ipv4" };

export interface Setting {
  readonly wire?: Wire;
  /** Fields of both ends' tunnels. */
  readonly tunnel?: Partial<TunnelSpec>;
  readonly session?: Partial<SessionSpec>;
  /** The first end's datapath. With "Kernel", the first end is in the initial namespace. */
  readonly datapath?: "Kernel";
}

function tunnelOf(local: Host, remote: Host, { encapsulation, family }: Wire, more: object) {
  const port = encapsulation === "UDP" ? { port: 5000 } : {};
  const ends = {
    local: { address: local[family], ...port },
    remote: { address: remote[family], ...port },
  };
  return tunnelObject("t", local, remote, { encapsulation, ...ends, ...more });
}

export class PathPair {
  readonly routed: RoutedNet;
  readonly a: TestAgent;
  readonly b: TestAgent;
  readonly podA: string;
  readonly podB: string;
  readonly #setting: Setting;

  private constructor(routed: RoutedNet, pods: readonly [string, string], setting: Setting) {
    this.routed = routed;
    [this.a, this.b] = [new TestAgent(routed.net.a), new TestAgent(routed.net.b)];
    [this.podA, this.podB] = pods;
    this.#setting = setting;
  }

  /** Starts two agents with a session each. */
  static async create(setting: Setting = {}): Promise<PathPair> {
    const { wire = PLAIN, tunnel = {}, session = {}, datapath } = setting;
    const routed = await RoutedNet.create({ aIsInitial: datapath !== undefined });
    const { net } = routed;
    const pair = new PathPair(routed, [await net.addPod("pa"), await net.addPod("pb")], setting);
    for (const [agent, remote, more] of [
      [pair.a, net.b, datapath === undefined ? {} : { datapath }],
      [pair.b, net.a, {}],
    ] as const) {
      agent.write("tunnel.yaml", [tunnelOf(agent.host, remote, wire, { ...tunnel, ...more })]);
      agent.write("lan.yaml", [sessionObject("lan", "t", session)]);
      await agent.start();
    }
    return pair;
  }

  async destroy(): Promise<void> {
    if (this.#setting.datapath !== undefined) await this.a.teardownOrKill();
    for (const agent of [this.a, this.b]) await agent.destroy();
    await this.routed.remove();
  }

  /** Attaches a pod at each end. */
  async join(): Promise<void> {
    expectOk(await add(this.a, this.podA, ["10.1.0.1/24", "fd00:1::1/64"]));
    expectOk(await add(this.b, this.podB, ["10.1.0.2/24", "fd00:1::2/64"]));
    await until("frames cross", () => ping(this.podA, "10.1.0.2"));
  }

  /**
   * Checks that flows in both directions continue while the link narrows and widens, and that the pods keep their MTUs.
   * @param bytes of each flow at each step
   */
  async flowsSurvive(narrow: PathLink, bytes: number): Promise<void> {
    const { podA, podB } = this;
    const mtus = [await mtuOf(podA), await mtuOf(podB)];
    const ends = [
      { netns: podA, address: "10.1.0.1" },
      { netns: podB, address: "10.1.0.2" },
    ] as const;
    const flows = [await Flow.start("upload", ends), await Flow.start("download", ends)];
    const advance = async (when: string) => {
      for (const flow of flows) await flow.advances(bytes, when);
    };
    try {
      await advance("while the path is wide");
      await this.routed.setMtu(narrow, NARROW);
      await advance("when the path has narrowed");
      // Over IPv4 a sender does not learn of a narrow link in the middle: the routers fragment.
      const isTold = narrow === "first" || this.#setting.wire?.family === "ipv6";
      if (isTold) await seesPath(this.a, NARROW);
      await advance("when the agent has detected the path MTU");
      expect([await mtuOf(podA), await mtuOf(podB)]).toEqual(mtus);
      await until("a ping that fills the MTU crosses", () => fills(podA, "10.1.0.2", mtus[0] ?? 0));
      await this.routed.setMtu(narrow, WIDE);
      await advance("when the path has widened");
      expect([await mtuOf(podA), await mtuOf(podB)]).toEqual(mtus);
    } finally {
      for (const flow of flows) await flow.end();
    }
  }
}

const config = (agent: TestAgent, more: object) => ({
  ...{ cniVersion: "1.0.0", name: "path", type: "l2tp", session: "shop/lan" },
  ...{ socket: agent.socket, ...more },
});

/** Calls ADD. @param more fields of the call */
export function add(agent: TestAgent, netns: string, ips: readonly string[], more: object = {}) {
  const called = { command: "ADD", netns, config: config(agent, { runtimeConfig: { ips } }) };
  return cni(agent.host, { ...called, ...more });
}

export const addByIpam = (agent: TestAgent, netns: string, ipam: object) =>
  cni(agent.host, { command: "ADD", netns, config: config(agent, { ipam }) });

export const remove = (agent: TestAgent, netns: string) =>
  cni(agent.host, { command: "DEL", netns, config: config(agent, {}) });

export function expectOk(answer: CniAnswer): void {
  expect(answer.status, answer.stdout + answer.stderr).toBe(0);
}

export const mtuOf = async (netns: string) => (await link(netns, "net1"))?.mtu ?? 0;

/** Waits until the agent's status shows this underlay MTU. */
export const seesPath = (agent: TestAgent, mtu: number) =>
  until(
    () => `the agent of ${agent.host.name} reports path MTU ${mtu}`,
    async () => (await agent.ask({ op: "tunnels" }))[0]?.underlayMtu === mtu,
  );

/** A ping that fills the MTU. "Don't fragment" is set on the inner packet. */
export const fills = (netns: string, address: string, mtu: number) =>
  ping(netns, address, { size: mtu - PING_OVERHEAD, args: ["-M", "do"] });
