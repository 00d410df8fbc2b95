/** Every pseudowire type in every attachment mode, in the datapath of the suite: it forwards, or says why it cannot. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { ATTACHMENT_MODES, canAttach } from "../../model/attachments/index.ts";
import { kernelPart, PSEUDOWIRE_TYPES } from "../../model/pseudowires/index.ts";
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
const NODE_INTERFACE = "edge0";

let net: TestNet;
/** Host a is the node under test; b and c are its peers, in userspace. */
let node: TestAgent;
let peers: readonly [TestAgent, TestAgent];
let right: Host;
const detach: (() => Promise<void>)[] = [];
let count = 0;

beforeAll(async () => {
  net = await TestNet.create({ aIsInitial: IS_KERNEL });
  const third = await net.addHost();
  right = middleOf(net).right;
  node = new TestAgent(net.a);
  peers = [new TestAgent(net.b), new TestAgent(third)];
  write();
  for (const agent of [node, ...peers]) await agent.start();
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(node.log, ...peers.map(({ log }) => log));
  for (const each of detach.splice(0)) await each();
});

afterAll(async () => {
  for (const agent of [node, ...(peers ?? [])]) {
    await agent?.teardownOrKill();
    await agent?.destroy();
  }
  await net?.remove();
});

type Session = Partial<SessionSpec>;

/** The fields that a type requires besides its name. */
const FIELDS: Readonly<Record<string, Session>> = { EthernetVLAN: { vlan: { id: 100 } } };

const sessionOf = (pseudowireType: string): Session =>
  ({ pseudowireType, ...FIELDS[pseudowireType] }) as Session;

/** The session of the test, and the session that it is switched to in mode Switch. */
const name = () => `lan${count}`;
const other = () => `other${count}`;

/** Attaches a new pod to the agent's session, with the address 10.1.0.`number`. */
async function attachTo({ host, socket }: TestAgent, number: number): Promise<string> {
  const netns = await net.addPod(`pod${count}-${number}`);
  const runtimeConfig = { ips: [`10.1.0.${number}/24`] };
  const rest = { session: `shop/${name()}`, socket, runtimeConfig };
  const config = { cniVersion: "1.0.0", name: "matrix", type: "l2tp", ...rest };
  const call = { netns, containerId: nameOf(netns), config };
  detach.push(async () => {
    await cni(host, { ...call, command: "DEL" });
    await net.removePod(netns);
  });
  await until("ADD succeeds", async () => {
    const answer = await cni(host, { ...call, command: "ADD" });
    return answer.status === 0 || Promise.reject(new Error(answer.stdout));
  });
  return netns;
}

/** The use of the node's session in a mode. */
interface Use {
  readonly attachment: Session;
  /** Attaches what stands at the node's end. @returns the network namespaces from which 10.1.0.9 is reached */
  attach(): Promise<readonly string[]>;
}

const USES: Readonly<Record<string, Use>> = {
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
    get attachment() {
      return switchTo(other());
    },
    attach: async () => [await attachTo(peers[1], 1)],
  },
};

/** Returns the use of a mode; another mode than those above attaches one pod. */
const useOf = (mode: string): Use =>
  USES[mode] ?? {
    attachment: { attachment: { mode } } as Session,
    attach: async () => [await attachTo(node, 1)],
  };

/** Writes the tunnels of the node and its peers, and the sessions of one test: the node's, and the peers'. */
function write(mine?: Session, theirs: Session = {}): void {
  const [left, third] = [net.b, peers[1].host];
  const ids = (id: number) => ({ sessionId: id, peerSessionId: id });
  const [first, second] = [ids(100 + count), ids(200 + count)];
  const datapath = { datapath: DATAPATH, allowedInterfaces: [NODE_INTERFACE] };
  const userspace = { datapath: "Userspace" } as const;
  const sessions = (...all: object[]) => (mine === undefined ? [] : all);
  node.write("all.yaml", [
    variantTunnel("left", net.a, left, WIRE, 1, datapath),
    variantTunnel("right", right, third, WIRE, 2, datapath),
    ...sessions(
      sessionObject(name(), "left", { ...first, ...mine }),
      sessionObject(other(), "right", { ...second, ...theirs, ...switchTo(name()) }),
    ),
  ]);
  peers[0].write("all.yaml", [
    variantTunnel("node", left, net.a, WIRE, 1, userspace),
    ...sessions(sessionObject(name(), "node", { ...first, ...theirs })),
  ]);
  peers[1].write("all.yaml", [
    variantTunnel("node", third, right, WIRE, 2, userspace),
    ...sessions(sessionObject(name(), "node", { ...second, ...theirs })),
  ]);
}

/** Returns the reason for which the node does not program the session; undefined: none yet. */
function refusal(): string | undefined {
  const known = ["Accepted", "Programmed"].map((type) =>
    node.condition("l2tpsession", `shop/${name()}`, type),
  );
  return known.find((condition) => condition?.status === "False")?.reason;
}

describe.each(PSEUDOWIRE_TYPES.map((type) => [type.name, type] as const))(
  "%s",
  (typeName, type) => {
    for (const mode of ATTACHMENT_MODES) {
      const canForward = canAttach(mode, type) && !(IS_KERNEL && kernelPart(type) === null);

      it(`in mode ${mode.name} ${canForward ? "forwards frames" : "is rejected with a reason"}`, async () => {
        count++;
        const { attachment, attach } = useOf(mode.name);
        const fields = sessionOf(typeName);
        write({ ...fields, ...attachment }, fields);
        if (!canForward) {
          expect(await until("the session is rejected", refusal)).toMatch(
            /^(Invalid|NotInKernel)$/,
          );
          return;
        }
        await attachTo(peers[0], 9);
        for (const from of await attach()) {
          await until(`frames cross from ${from}`, () => ping(from, "10.1.0.9"));
          expect(await ping(from, "10.1.0.9", { count: 5, size: 1200 })).toBe(true);
        }
      });
    }
  },
);
