/** Every pseudowire type in every attachment mode, in the datapath of the suite: it forwards, or says why it cannot. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import {
  ATTACHMENT_MODES,
  type AttachmentModeName,
  canAttach,
} from "../../model/attachments/index.ts";
import {
  kernelPart,
  PSEUDOWIRE_TYPES,
  type PseudowireName,
} from "../../model/pseudowires/index.ts";
import type { SessionSpec, TunnelSpec } from "../../operator/api/types.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { type Host, nameOf, ping, TestNet } from "../harness/net.ts";
import { sessionObject } from "../harness/objects.ts";
import { middleOf, switchTo, variantTunnel } from "../harness/switch.ts";
import type { Variant } from "../harness/variants.ts";
import { until } from "../harness/wait.ts";

const IS_KERNEL = process.env.L2TP_TEST_DATAPATH === "Kernel";
const DATAPATH: NonNullable<TunnelSpec["datapath"]> = IS_KERNEL ? "Kernel" : "Userspace";
const WIRE: Variant = { encapsulation: "UDP", family: 4, cookieBytes: 0, sublayer: "Default" };
const IDS = { sessionId: 128, peerSessionId: 128 };
const OTHER_IDS = { sessionId: 129, peerSessionId: 129 };
const NODE_INTERFACE = "edge0";

let net: TestNet;
/** Host a is the node under test; b and c are its peers, in userspace. */
let node: TestAgent;
let peers: readonly [TestAgent, TestAgent];
let right: Host;
const pods: string[] = [];

beforeAll(async () => {
  net = await TestNet.create({ aIsInitial: IS_KERNEL });
  const third = await net.addHost();
  right = middleOf(net).right;
  node = new TestAgent(net.a);
  peers = [new TestAgent(net.b), new TestAgent(third)];
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(node.log, ...peers.map(({ log }) => log));
  for (const agent of [node, ...peers]) {
    agent.log = "";
    await agent.teardownOrKill();
  }
  for (const pod of pods.splice(0)) await net.removePod(pod);
});

afterAll(async () => {
  for (const agent of [node, ...(peers ?? [])]) await agent?.destroy();
  await net?.remove();
});

type Session = Partial<SessionSpec>;

/** The fields that a type requires. */
const FIELDS: Readonly<Record<PseudowireName, Session>> = {
  Ethernet: {},
  EthernetVLAN: { pseudowireType: "EthernetVLAN", vlan: { id: 100 } },
  IP: { pseudowireType: "IP" },
};

/** Attaches a new pod to the agent's session, with the address 10.1.0.`number`. */
async function attachTo({ host, socket }: TestAgent, number: number): Promise<string> {
  const netns = await net.addPod(`pod${number}`);
  pods.push(netns);
  const runtimeConfig = { ips: [`10.1.0.${number}/24`] };
  const rest = { session: "shop/lan", socket, runtimeConfig };
  const config = { cniVersion: "1.0.0", name: "matrix", type: "l2tp", ...rest };
  const call = { command: "ADD", netns, containerId: nameOf(netns), config };
  await until("ADD succeeds", async () => {
    const answer = await cni(host, call);
    return answer.status === 0 || Promise.reject(new Error(answer.stdout));
  });
  return netns;
}

/** How the node uses its session in each mode. */
interface Use {
  readonly attachment: Session;
  /** Attaches what stands at the node's end. @returns the network namespaces from which 10.1.0.9 is reached */
  attach(): Promise<readonly string[]>;
}

const USES: Readonly<Record<AttachmentModeName, Use>> = {
  Direct: {
    attachment: {},
    attach: async () => [await attachTo(node, 1)],
  },
  Bridge: {
    attachment: { attachment: { mode: "Bridge" } },
    attach: async () => [await attachTo(node, 1), await attachTo(node, 2)],
  },
  Interface: {
    attachment: {
      attachment: {
        ...{ mode: "Interface", interface: NODE_INTERFACE, create: true },
        addresses: ["10.1.0.1/24"],
      },
    },
    attach: async () => [net.a.netns],
  },
  Switch: {
    attachment: switchTo("other"),
    attach: async () => [await attachTo(peers[1], 1)],
  },
};

/** Writes the objects of the node, of its peer, and of the peer behind the switch. */
function write(mine: Session, theirs: Session): void {
  const [left, third] = [net.b, peers[1].host];
  const datapath = { datapath: DATAPATH, allowedInterfaces: [NODE_INTERFACE] };
  node.write("all.yaml", [
    variantTunnel("left", net.a, left, WIRE, 1, datapath),
    variantTunnel("right", right, third, WIRE, 2, datapath),
    sessionObject("lan", "left", { ...IDS, ...mine }),
    sessionObject("other", "right", { ...OTHER_IDS, ...theirs, ...switchTo("lan") }),
  ]);
  const userspace = { datapath: "Userspace" } as const;
  peers[0].write("all.yaml", [
    variantTunnel("node", left, net.a, WIRE, 1, userspace),
    sessionObject("lan", "node", { ...IDS, ...theirs }),
  ]);
  peers[1].write("all.yaml", [
    variantTunnel("node", third, right, WIRE, 2, userspace),
    sessionObject("lan", "node", { ...OTHER_IDS, ...theirs }),
  ]);
}

/** Returns the reason for which the node does not program the session; undefined: none yet. */
function refusal(): string | undefined {
  const known = ["Accepted", "Programmed"].map((type) =>
    node.condition("l2tpsession", "shop/lan", type),
  );
  return known.find((condition) => condition?.status === "False")?.reason;
}

describe.each(PSEUDOWIRE_TYPES.map((type) => [type.name, type] as const))("%s", (name, type) => {
  for (const mode of ATTACHMENT_MODES) {
    const canForward = canAttach(mode, type) && !(IS_KERNEL && kernelPart(type) === null);
    const { attachment, attach } = USES[mode.name as AttachmentModeName];

    it(`in mode ${mode.name} ${canForward ? "forwards frames" : "is rejected with a reason"}`, async () => {
      write({ ...FIELDS[name as PseudowireName], ...attachment }, FIELDS[name as PseudowireName]);
      for (const agent of [node, ...peers]) await agent.start();
      if (!canForward) {
        const reason = await until("the session is rejected", refusal);
        expect(reason).toMatch(/^(Invalid|Unsupported)/);
        return;
      }
      await attachTo(peers[0], 9);
      for (const from of await attach()) {
        await until(`frames cross from ${from}`, () => ping(from, "10.1.0.9"));
        expect(await ping(from, "10.1.0.9", { count: 5, size: 1200 })).toBe(true);
      }
    });
  }
});
