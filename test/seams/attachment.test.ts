/** Adds an attachment mode with one file, its registration and the API's enum. Frames cross in the process. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { ip, link, ping } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { check, compilerSays, generateTypes, pairForEach } from "../harness/seam-pair.ts";
import { SourceTree } from "../harness/tree.ts";
import { until } from "../harness/wait.ts";

/** One pod by a veth pair, on a bridge with the session's device. */
const SOLO = `
import { bridgeLink, vethPair } from "./links.ts";
import type { AttachmentMode } from "./mode.ts";
import { portName, stableMac } from "./names.ts";

const joiningName = (sessionId: number) => \`solo\${sessionId}\`;

export const solo = {
  name: "Solo",
  devices: ["TAP"],
  deviceIn: "node",
  secondPodRemedy: "give it a session of its own",
  macSpoofingAt: "port",
  podMac: (nodeName, { session }) => stableMac(nodeName, session, "solo"),
  nodeLinks: ({ sessionId }, pod) => [joiningName(sessionId), portName(pod)],
  wantedLinks(layout) {
    const { session, nodeName, device, attachments } = layout;
    const [first] = attachments;
    if (device === null || first === undefined) return { links: [], pairs: [] };
    const mac = stableMac(nodeName, session.key, "joining");
    const joining = bridgeLink(layout, joiningName(session.sessionId), mac);
    const { port, pod } = vethPair(layout, first, joining.id);
    return {
      links: [joining, { ...device, bridge: joining.id }, port, pod],
      pairs: [{ port: port.id, pod: pod.id }],
    };
  },
} as const satisfies AttachmentMode;
`;

let tree: SourceTree;
const pair = pairForEach(() => tree);

beforeAll(() => {
  tree = new SourceTree();
  tree.add("model/attachments/solo.ts", SOLO);
  const registry = "model/attachments/index.ts";
  tree.replace(registry, "  switchMode,\n] as const", "  switchMode,\n  solo,\n] as const");
  const last = 'from "./pod-link.ts";';
  tree.replace(registry, last, `${last}\nimport { solo } from "./solo.ts";`);
});

afterAll(() => tree.remove());

it("makes the compiler report the API's enum, and nothing else", () => {
  expect(compilerSays(tree)).toEqual(["operator/resolve/session-kind.ts"]);
  tree.replace(
    "crds/l2tpsessions.yaml",
    "enum: [Direct, Bridge, Interface, Switch]",
    "enum: [Direct, Bridge, Interface, Switch, Solo]",
  );
  generateTypes(tree);
  check(tree);
});

const attachment = (more: object = {}) => ({ attachment: { mode: "Solo" as "Direct", ...more } });

function write(session: object): void {
  const { a, b } = pair().net;
  const theirs = sessionObject("lan", "branch");
  pair().write([tunnelObject("branch", a, b), session], [tunnelObject("branch", b, a), theirs]);
}

it("forwards frames of one pod, returns its interfaces, and rejects a second pod with a remedy", async () => {
  write(sessionObject("lan", "branch", attachment()));
  await pair().start();
  const { stdout, json } = await pair().add(0);
  expect(json?.interfaces, stdout).toEqual([
    { name: "solo128", mac: expect.anything() },
    { name: expect.stringMatching(/^l2v/), mac: expect.anything() },
    expect.objectContaining({ name: "net1", sandbox: pair().pods[0] }),
  ]);
  expect((await pair().add(1)).status).toBe(0);
  await pair().crosses();
  const { a } = pair().net;
  expect((await link(a.name, "l2tp-128"))?.master).toBe("solo128");
  const row = await pair().agents[0].session("shop/lan");
  expect(row).toMatchObject({ mode: "Solo", interface: "l2tp-128" });
  const second = await pair().add(0, await pair().net.addPod("second"), "c2");
  expect(second.stdout).toContain("give it a session of its own");
  // The agent finds the mode's links by their names, and keeps them.
  await pair().agents[0].kill();
  await pair().agents[0].start();
  expect(await ping(pair().pods[0], "10.1.0.2", { count: 10 })).toBe(true);
});

it("filters a pod's source MAC address at its port", async () => {
  write(sessionObject("lan", "branch", attachment({ macSpoofing: "Refuse" })));
  await pair().start();
  await pair().attach();
  await pair().crosses();
  await ip(pair().pods[0], "link", "set", "net1", "address", "02:00:00:00:00:99");
  expect(await ping(pair().pods[0], "10.1.0.2", { count: 3 })).toBe(false);
  await until("the drops are counted", async () => {
    return ((await pair().agents[0].session("shop/lan"))?.counters?.txSpoofed ?? 0) > 0;
  });
});
