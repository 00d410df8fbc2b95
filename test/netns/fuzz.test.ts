/** Random input to the plugin, to the agent's socket, and on the wire. */
import { connect } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Random } from "../../l2tp/testing/random.ts";
import { TestAgent } from "../harness/agent.ts";
import { type CniAnswer, cni } from "../harness/cni.ts";
import { account, mutatedIds, mutatedObjects, spray } from "../harness/mutations.ts";
import { linksOf, TestNet } from "../harness/net.ts";
import { sessionObject } from "../harness/objects.ts";
import { until } from "../harness/wait.ts";

let net: TestNet;
let agent: TestAgent;
let pod: string;
let pids: [number, number];

beforeAll(async () => {
  net = await TestNet.create();
  agent = new TestAgent(net.a);
  const vlan = { pseudowireType: "EthernetVLAN", vlan: { id: 100, peerId: 200 } } as const;
  agent.write("all.yaml", [
    ...mutatedObjects(net),
    ...["udp", "ip"].map((tunnel, index) =>
      sessionObject(`${tunnel}-vlan`, tunnel, { ...mutatedIds(index, 4), ...vlan }),
    ),
  ]);
  await agent.start();
  pod = await net.addPod("fuzzed");
  pids = [agent.pid(), await agent.datapathPid()];
});

afterAll(async () => {
  await agent?.destroy();
  await net?.remove();
});

/** Checks that agent and datapath have not restarted, that they answer, and that nothing is attached. */
async function expectUnharmed(): Promise<void> {
  expect([agent.pid(), await agent.datapathPid()]).toEqual(pids);
  await agent.ask({ op: "ready" });
  expect(await agent.ask({ op: "sessions" })).toHaveLength(8);
  const before = new Date(Date.now() + 60_000).toISOString();
  for (const { containerId, cniIfname } of await agent.ask({ op: "attachments" })) {
    await agent.ask({ op: "detach", containerId, cniIfname, netns: null });
  }
  await agent.ask({ op: "gc", network: "fuzz", valid: [], before });
  expect((await linksOf(pod)).map(({ ifname }) => ifname)).toEqual(["lo"]);
  expect(agent.log).not.toMatch(/uncaught|unhandled/i);
}

const ODD: readonly unknown[] = [
  ...[
    null,
    true,
    0,
    -1,
    1e300,
    "",
    " ",
    "..",
    "../../etc",
    "a\0b",
    "\u{1f600}",
    "x".repeat(70_000),
  ],
  ...[[], {}, [[]], [null], ["10.0.0.1"], { type: 7 }, { cni: [] }],
];

describe("the plugin", () => {
  const random = new Random(7);
  const config = () => ({
    cniVersion: random.pick(["0.4.0", "1.0.0", "1.1.0"]),
    name: "fuzz",
    type: "l2tp",
    session: "udp-plain",
    namespace: "shop",
    socket: agent.socket,
    interface: "net7",
    mac: "02:00:00:00:00:09",
    ips: ["10.1.0.1/24"],
    args: { cni: { ips: ["10.1.0.1/24"] } },
    runtimeConfig: { ips: ["fd00::1/64"], "io.kubernetes.cri.pod-annotations": {} },
    "cni.dev/valid-attachments": [{ containerID: "c1", ifname: "net1" }],
  });

  /** Checks that the plugin returned a result, or an error of the specification's form, and nothing else. */
  function expectAnswer({ status, stdout, stderr, json }: CniAnswer, what: string): void {
    expect([0, 1], what).toContain(status);
    expect(stderr, what).toBe("");
    if (status === 1) {
      expect(json, `${what}\n${stdout}`).toMatchObject({
        cniVersion: expect.any(String),
        code: expect.any(Number),
        msg: expect.stringMatching(/./),
      });
      // 999 is an internal error. An IPAM plugin's own errors are passed on.
      if (!json.msg.startsWith("IPAM plugin")) expect(json.code, stdout).not.toBe(999);
    }
  }

  const commands = ["ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"];
  const call = async (command: string, text: string, env: NodeJS.ProcessEnv = {}) => {
    const answer = await cni(net.a, { command, config: text, netns: pod, env });
    expectAnswer(answer, `${command} ${text.slice(0, 600)} ${JSON.stringify(env).slice(0, 600)}`);
  };

  it("answers truncated configurations", async () => {
    const text = JSON.stringify(config());
    for (let length = 0; length < text.length; length += 9) {
      await call(random.pick(commands), text.slice(0, length));
    }
    await expectUnharmed();
  });

  it("answers odd values in any field", async () => {
    for (const field of [...Object.keys(config()), "prevResult", "ipam"]) {
      for (const value of ODD) {
        const text = JSON.stringify({ ...config(), [field]: value });
        // The default would be the socket of an agent outside of the test.
        if (field === "socket" && (value === null || value === "")) continue;
        await call(random.pick(commands), text);
      }
    }
    await expectUnharmed();
  });

  it("answers random bytes", async () => {
    for (let i = 0; i < 150; i++) {
      const bytes = random.mutate(Buffer.from(JSON.stringify(config())), 500);
      await call(random.pick(commands), Buffer.from(bytes).toString("latin1"));
    }
    await expectUnharmed();
  });

  it("answers random environments", async () => {
    const names = ["COMMAND", "CONTAINERID", "NETNS", "IFNAME", "ARGS", "PATH"];
    const values = [undefined, "", " ", "/", "..", "x".repeat(5000), "a;b=c=d;=", "/proc/1/ns/net"];
    for (const name of names) {
      for (const value of values) {
        // Without CNI_COMMAND the plugin prints its help.
        if (name === "COMMAND" && value === undefined) continue;
        const env = { [`CNI_${name}`]: value };
        const wild = `${name} ${JSON.stringify(value)?.slice(0, 50)}`;
        const dataDir = join(agent.folder, "ipam");
        const ipam = { type: "host-local", dataDir, ranges: [[{ subnet: "10.9.0.0/24" }]] };
        const rest = { ...config(), ips: [], args: {}, runtimeConfig: {}, ipam };
        const command = random.pick(["ADD", "DEL"]);
        const options = { command, config: rest, netns: pod, env };
        expectAnswer(await cni(net.a, options), `${command} ${wild}`);
      }
    }
    await expectUnharmed();
  });
});

describe("the agent's socket", () => {
  const random = new Random(11);
  const whose = { containerId: "c1", cniIfname: "net1", ifname: "net1" };
  const place = () => ({ netns: pod, session: "shop/udp-plain", pod: "shop/web-0" });
  const requests = (): Record<string, unknown>[] => [
    { op: "prepare", ...whose, ...place() },
    {
      ...{ op: "attach", ...whose, ...place(), network: "fuzz", mac: null, ipam: null },
      addresses: ["10.1.0.1/24"],
      routes: [{ destination: "10.2.0.0/16", gateway: "10.1.0.9" }],
    },
    { op: "detach", ...whose },
    { op: "check", ...whose, ifnames: ["net1"] },
    { op: "gc", network: "fuzz", valid: [whose], before: new Date().toISOString() },
    { op: "doctor", seconds: 0 },
    ...["ready", "tunnels", "sessions", "attachments"].map((op) => ({ op })),
  ];

  /** Sends the bytes. @returns the replies, one a line */
  function exchange(bytes: Uint8Array): Promise<string> {
    const whole = bytes.filter((byte) => byte === 0x0a).length;
    return new Promise((resolve, reject) => {
      let answer = "";
      const socket = connect(agent.socket, () => {
        socket.write(bytes);
        if (whole === 0) socket.end();
      });
      socket.setTimeout(120_000, () => reject(new Error("the connection was not closed in time")));
      socket.on("data", (data) => {
        answer += data.toString();
        // Not before: the agent treats a half-closed connection as abandoned.
        if (answer.split("\n").length > whole) socket.end();
      });
      // The agent may stop reading.
      socket.on("error", () => {});
      socket.on("close", () => resolve(answer));
    });
  }

  /** Checks that each complete line has one reply. */
  async function expectReplies(bytes: Uint8Array): Promise<void> {
    const answer = await exchange(bytes);
    const replies = answer.split("\n").filter((text) => text !== "");
    expect(replies).toHaveLength(bytes.filter((byte) => byte === 0x0a).length);
    for (const line of replies) {
      const reply = JSON.parse(line) as { result?: unknown; error?: { message: string } };
      expect("result" in reply || reply.error?.message, line).toBeTruthy();
    }
  }

  it("answers odd values in any field", async () => {
    for (const request of requests()) {
      for (const field of Object.keys(request)) {
        for (const value of ODD) {
          const odd = { ...request, [field]: value };
          await expectReplies(Buffer.from(`${JSON.stringify(odd)}\n`));
        }
      }
    }
    await expectUnharmed();
  });

  it("answers truncated, concatenated and mutated requests", async () => {
    for (let i = 0; i < 1500; i++) {
      const lines = [random.pick(requests()), random.pick(requests())].map((item) =>
        JSON.stringify(item),
      );
      await expectReplies(random.mutate(Buffer.from(`${lines.join("\n")}\n`), 400));
    }
    await expectUnharmed();
  });

  it("limits long lines, deep objects, and silent connections", async () => {
    const long = await exchange(Buffer.alloc(2 * 1024 * 1024, "x"));
    expect(long).toContain("message exceeds 1048576 bytes");
    await expectReplies(Buffer.from(`${"[".repeat(100_000)}${"]".repeat(100_000)}\n`));
    const idle = Array.from({ length: 300 }, () => connect(agent.socket));
    await Promise.all(idle.map((one) => new Promise((done) => one.once("connect", done))));
    await expectUnharmed();
    for (const one of idle) one.destroy();
  });
});

describe("the wire", () => {
  const FRAME = `02000000000202000000000188b5${"00".repeat(46)}`;
  const tagged = (tags: string) => FRAME.slice(0, 24) + tags + FRAME.slice(24);
  const CORPUS = {
    UDP: [
      `000300000000000100000000${FRAME}`,
      `0003000000000002a1b2c3d400000000${FRAME}`,
      `000300000000000340000001${FRAME}`,
      `000300000000000340000002${FRAME}`,
      `000300000000000400000000${tagged("810000c8")}`,
      `000300000000000400000000${tagged("88a800c881000007")}`,
      `0003000000000063${FRAME}`,
      `c803001400000000000000018008000000000001`,
      "",
    ],
    IP: [
      `0000001100000000${FRAME}`,
      `00000012a1b2c3d400000000${FRAME}`,
      `0000001340000001${FRAME}`,
      `0000001400000000${tagged("810000c8")}`,
      `0000001400000000${tagged("8100012c")}`,
      `0000006300000000${FRAME}`,
      `00000000c803001400000000000000018008000000000001`,
      "00",
    ],
  } as const;
  const COUNT = 100_000;

  it.each(["UDP", "IP"] as const)("accounts for every datagram over %s", async (encapsulation) => {
    const tunnel = encapsulation.toLowerCase();
    // A busy receiver loses more datagrams.
    const corpus = CORPUS[encapsulation].map((hex) => Buffer.from(hex, "hex"));
    do spray(net, new Random(3), { encapsulation, corpus, count: COUNT });
    while ((await account(agent, tunnel)).read <= COUNT / 2);
    // Frames in the reorder queue wait for their timeout.
    await until("all received datagrams are accounted for", async () => {
      const { read, accounted } = await account(agent, tunnel);
      return read === accounted && read === (await account(agent, tunnel)).read;
    });
    await expectUnharmed();
  });
});
