/** Adds an underlay with one file and its line in the registry, and tests its paths, MTU and frames. */
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { type Host, inside, ip, link, ping, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { run } from "../harness/run.ts";
import { SourceTree } from "../harness/tree.ts";
import { until } from "../harness/wait.ts";

const OVERHEAD_BYTES = 8;
/** The MTU of a pseudowire over UDP and IPv4 with a sublayer and no cookies, on an underlay of 1500 bytes. */
const PLAIN_MTU = 1446;
const SHIM = `/** Reserves eight bytes in each packet, and sends by another device. */
import { plain } from "./plain.ts";
import type { Underlay } from "./underlay.ts";

export const shim: Underlay = {
  name: "shim",
  pathTo(network, remote, local) {
    const path = plain.pathTo(network, remote, local);
    const egress = network.linkNamed("second");
    if (path === undefined || egress === undefined) return undefined;
    return { ...path, egress: egress.index, overheadBytes: ${OVERHEAD_BYTES} };
  },
};
`;

let tree: SourceTree;

beforeAll(() => {
  tree = new SourceTree();
  tree.add("underlay/shim.ts", SHIM);
  tree.replace(
    "underlay/index.ts",
    'import { plain } from "./plain.ts";\n',
    'import { plain } from "./plain.ts";\nimport { shim } from "./shim.ts";\n',
  );
  tree.replace("underlay/index.ts", "Underlay[] = [bound, plain];", "Underlay[] = [shim, plain];");
});

afterAll(() => tree.remove());

describe("the source with one more underlay", () => {
  it("compiles", () => {
    tree.run(join(tree.path, "node_modules/.bin/tsc"), "-p", ".");
  });

  it("does not change plans", () => {
    const vitest = join(tree.path, "node_modules/.bin/vitest");
    tree.run(vitest, "run", "--project", "unit", "model/plan.test.ts");
  });
});

/** An agent of the copy, which starts the datapath process of the copy. */
class CopyAgent extends TestAgent {
  override command(...extra: string[]): string[] {
    const program = /\/bin\/l2tp-agent$/;
    const copy = join(tree.path, "bin/l2tp-agent");
    return super.command(...extra).map((part) => (program.test(part) ? copy : part));
  }
}

describe("tunnels over that underlay", () => {
  let net: TestNet;
  let agents: CopyAgent[];
  let pods: string[];

  beforeEach(async () => {
    net = await TestNet.create();
    const hosts = [net.a, net.b];
    const peer = ["peer", "name", "second", "netns", net.b.name];
    await run(["ip", "link", "add", "second", "netns", net.a.name, "type", "veth", ...peer]);
    for (const { name } of hosts) await ip(name, "link", "set", "second", "up");
    // The peer's address is on another device: neighbor resolution is not required.
    for (const [host, other] of [
      [net.a, net.b],
      [net.b, net.a],
    ] as const) {
      const mac = (await link(other.name, "second"))?.address ?? "";
      const to = [other.ipv4, "lladdr", mac, "dev", "second", "nud", "permanent"];
      await ip(host.name, "neigh", "replace", ...to);
    }
    agents = hosts.map((host) => new CopyAgent(host));
    pods = [await net.addPod("pa"), await net.addPod("pb")];
  });

  afterEach(async () => {
    for (const agent of agents) await agent.destroy();
    await net.remove();
  });

  async function connect(change: object): Promise<void> {
    for (const [index, agent] of agents.entries()) {
      const remote = index === 0 ? net.b : net.a;
      const objects = [tunnelObject("t", agent.host, remote, change), sessionObject("lan", "t")];
      agent.write("all.yaml", objects);
      await agent.start();
      const config = {
        ...{ cniVersion: "1.0.0", name: "n", type: "l2tp", session: "shop/lan" },
        ...{ socket: agent.socket, runtimeConfig: { ips: [`10.1.0.${index + 1}/24`] } },
      };
      const netns = pods[index] as string;
      const answer = await cni(agent.host, { command: "ADD", netns, config });
      expect(answer.status, answer.stdout).toBe(0);
    }
    await until("frames cross", () => ping(pods[0] as string, "10.1.0.2"));
  }

  it("have an MTU reduced by its overhead, and frames cross in the process", async () => {
    await connect({ datapath: "Userspace", udpChecksum: true, fastPath: false });
    for (const [index, agent] of agents.entries()) {
      expect((await link(pods[index] as string, "net1"))?.mtu).toBe(PLAIN_MTU - OVERHEAD_BYTES);
      const [tunnel] = await agent.ask({ op: "tunnels" });
      expect(tunnel?.underlayMtu).toBe(1500 - OVERHEAD_BYTES);
    }
    const largest = PLAIN_MTU - OVERHEAD_BYTES - 28;
    const args = ["-M", "do"];
    expect(await ping(pods[0] as string, "10.1.0.2", { count: 5, size: largest, args })).toBe(true);
  });

  it("use the fast path by the underlay's egress device", async () => {
    await connect({ udpChecksum: false, fastPath: true });
    const isFast = async (agent: TestAgent) => (await agent.session("shop/lan"))?.fastPath === true;
    await until("both ends are on the fast path", async () =>
      (await Promise.all(agents.map(isFast))).every(Boolean),
    );
    const before = await sentBy(net.a);
    expect(await ping(pods[0] as string, "10.1.0.2", { count: 20 })).toBe(true);
    expect((await sentBy(net.a)) - before).toBeGreaterThanOrEqual(20);
  });
});

/** Number of packets sent by the second device. */
async function sentBy(host: Host): Promise<number> {
  const output = await run(inside(host.name, "ip", "-s", "-j", "link", "show", "dev", "second"));
  const [shown] = JSON.parse(output) as [{ stats64: { tx: { packets: number } } }];
  return shown.stats64.tx.packets;
}
