/** Invalid files, stopped processes, signals, and sockets in other users' folders. */
import {
  chmodSync,
  chownSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ODD_FILES } from "../../files/testdata.ts";
import { buildRootfs } from "../../image/rootfs.ts";
import { serve } from "../../rpc/server.ts";
import { TestAgent } from "../harness/agent.ts";
import { type CniAnswer, type CniCall, cni } from "../harness/cni.ts";
import { inside, link, ping, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { Background, stop, tryRun } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

const bin = (name: string) => fileURLToPath(new URL(`../../bin/${name}`, import.meta.url));

let net: TestNet;
let agent: TestAgent;
const background = new Background();

beforeEach(async () => {
  net = await TestNet.create();
  agent = new TestAgent(net.a);
  agent.write("branch.yaml", [
    tunnelObject("branch", net.a, net.b),
    sessionObject("lan", "branch"),
    sessionObject("wan", "branch", { sessionId: 200, peerSessionId: 200 }),
    sessionObject("hub", "branch", {
      sessionId: 300,
      peerSessionId: 300,
      attachment: { mode: "Bridge" },
    }),
  ]);
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(agent.log);
  await background.stopAll();
  await agent.destroy();
  await net.remove();
});

const config = (more: object = {}) => ({
  cniVersion: "1.1.0",
  name: "branch",
  type: "l2tp",
  session: "lan",
  namespace: "shop",
  socket: agent.socket,
  ...more,
});

const call = (command: string, netns: string, more: object = {}, rest: Partial<CniCall> = {}) =>
  cni(net.a, { command, netns, config: config(more), ...rest });

function expectOk(answer: CniAnswer): CniAnswer {
  expect(answer, answer.stdout + answer.stderr).toMatchObject({ status: 0 });
  return answer;
}

const deferred = () => {
  const folder = join(agent.folder, "run", "deferred");
  return existsSync(folder) ? readdirSync(folder) : [];
};

/** Runs `work` with a second agent as the peer. */
async function withPeer<T>(work: (peer: TestAgent) => Promise<T>): Promise<T> {
  const peer = new TestAgent(net.b);
  const text = readFileSync(join(agent.manifests, "branch.yaml"), "utf8");
  peer.write("branch.yaml", "");
  try {
    const { parseAllDocuments, stringify } = await import("yaml");
    const [, ...sessions] = parseAllDocuments(text).map((document) => document.toJS() as object);
    const tunnel = tunnelObject("branch", net.b, net.a);
    peer.write("branch.yaml", [tunnel, ...sessions].map((one) => stringify(one)).join("---\n"));
    await peer.start();
    return await work(peer);
  } finally {
    await peer.destroy();
  }
}

/** The lines of ss(8) with the socket, in columns. */
async function socketsOf(path: string): Promise<string[][]> {
  const { stdout } = await tryRun(inside(net.a.name, "ss", "-xaHn"));
  const lines = stdout.split("\n").filter((line) => line.includes(path));
  return lines.map((line) => line.trim().split(/\s+/));
}

/** True if a connection or a message waits for a stopped process. */
async function hasUnread(path: string): Promise<boolean> {
  return (await socketsOf(path)).some(([, , received]) => Number(received) > 0);
}

const attachments = () => {
  const folder = join(agent.state, "attachments");
  return readdirSync(folder)
    .filter((name) => name.endsWith(".json"))
    .map((name) => join(folder, name));
};

describe("an attachment that cannot be read", () => {
  const at = (address: string, session: string) => ({
    session,
    runtimeConfig: { ips: [address] },
  });

  /** Attaches a pod at each end of the session, and waits until frames cross. */
  async function joined(peer: TestAgent, session: string, number: number) {
    const [near, far] = [await net.addPod(`n${number}`), await net.addPod(`f${number}`)];
    const containerId = `c${number}`;
    const [here, there] = [`10.${number}.0.1/24`, `10.${number}.0.2/24`];
    expectOk(await call("ADD", near, at(here, session), { containerId }));
    const farConfig = { ...config(at(there, session)), socket: peer.socket };
    const farCall = { command: "ADD", netns: far, containerId, config: farConfig };
    expectOk(await cni(net.b, farCall));
    await until("frames cross", () => ping(near, `10.${number}.0.2`));
    return { near, far, containerId, reaches: () => ping(near, `10.${number}.0.2`) };
  }

  it("leaves the session to its pod, is reported, and ends with the pod", async () => {
    await agent.start();
    await withPeer(async (peer) => {
      const lan = await joined(peer, "lan", 1);
      const wan = await joined(peer, "wan", 2);
      const before = await link(lan.near, "net1");
      await agent.kill();
      const path = agent.damageAttachment("c1");
      agent.log = "";
      await agent.start();
      await until("the log names the file", () => agent.log.includes(path));
      expect(await lan.reaches()).toBe(true);
      agent.write("more.yaml", [sessionObject("x", "branch", { sessionId: 9, peerSessionId: 9 })]);
      await until("another reconcile is done", () => agent.session("shop/x"));
      expect(await lan.reaches()).toBe(true);
      expect(await wan.reaches()).toBe(true);
      expect((await link(lan.near, "net1"))?.ifindex).toBe(before?.ifindex);
      const { findings } = await agent.ask({ op: "doctor", seconds: 0 });
      expect(findings.map(({ object }) => object)).toContain(`attachment ${path}`);
      // Another pod cannot attach meanwhile.
      const other = await net.addPod("other");
      const busy = await call("ADD", other, { session: "lan" }, { containerId: "c9" });
      expect(busy.json).toMatchObject({ code: 101, msg: expect.stringContaining(path) });
      expect(await lan.reaches()).toBe(true);
      // A readable attachment is deleted as usual.
      expectOk(await call("DEL", wan.near, { session: "wan" }, wan));
      expect(await link(wan.near, "net1")).toBeUndefined();
      expect(await lan.reaches()).toBe(true);
      expectOk(await call("DEL", lan.near, {}, lan));
      expect(await link(lan.near, "net1")).toBeUndefined();
      expect(attachments()).toEqual([]);
      expectOk(await call("ADD", other, { session: "lan" }, { containerId: "c9" }));
    });
  });

  it("leaves the pod in its bridge, and is repaired by a repeated ADD", async () => {
    await agent.start();
    await withPeer(async (peer) => {
      const one = await joined(peer, "hub", 1);
      const two = await net.addPod("two");
      expectOk(await call("ADD", two, at("10.1.0.3/24", "hub"), { containerId: "c2" }));
      await agent.kill();
      agent.damageAttachment("c1");
      await agent.start();
      expect(await one.reaches()).toBe(true);
      expectOk(await call("DEL", two, { session: "hub" }, { containerId: "c2" }));
      expect(await one.reaches()).toBe(true);
      await agent.kill();
      await agent.start();
      expect(await one.reaches()).toBe(true);
      expectOk(await call("ADD", one.near, at("10.1.0.1/24", "hub"), one));
      expect(await one.reaches()).toBe(true);
      expect(await agent.ask({ op: "attachments" })).toHaveLength(1);
      expectOk(await call("DEL", one.near, { session: "hub" }, one));
      expect(await link(net.a.name, "l2br-300")).toBeUndefined();
    });
  });
});

it("--teardown deletes unreadable attachments, too", async () => {
  await agent.start();
  expectOk(await call("ADD", await net.addPod("pod")));
  await agent.kill();
  agent.damageAttachment("c1");
  expect((await agent.teardown()).status).toBe(0);
  expect(attachments()).toEqual([]);
  await expect(agent.datapathPid()).rejects.toThrow();
});

describe("files of random content", () => {
  it("break neither l2tpctl nor CNI: the agent replaces, deletes or reports each", async () => {
    await agent.start();
    const pod = await net.addPod("pod");
    const folder = join(agent.state, "status");
    await agent.kill("SIGTERM");
    mkdirSync(join(agent.folder, "run", "deferred"), { recursive: true });
    for (const [index, [, make]] of ODD_FILES.entries()) {
      make(join(agent.folder, "run", "deferred", `${index}.json`));
      make(join(folder, `l2tpsession.shop.odd${index}.json`));
      make(join(agent.state, "attachments", `${index}.json.new`));
      agent.write(`odd${index}.yaml`, [
        sessionObject(`odd${index}`, "branch", {
          sessionId: 400 + index,
          peerSessionId: 400 + index,
        }),
      ]);
    }
    await agent.start();
    const isWhole = (key: string) => {
      const stat = lstatSync(join(folder, `l2tpsession.shop.${key}.json`));
      const isOrdinary = stat.isFile() && stat.size < 100_000;
      return isOrdinary && agent.condition("l2tpsession", `shop/${key}`, "Accepted") !== undefined;
    };
    await until("every status is valid", () =>
      ODD_FILES.every((_, index) => isWhole(`odd${index}`)),
    );
    const listed = await tryRun([bin("l2tpctl"), "sessions", "--socket", agent.socket]);
    expect(listed.status, listed.stderr).toBe(0);
    expect(listed.stdout).toContain("shop/odd0");
    expectOk(await call("ADD", pod));
    // Damage it also while the agent runs.
    for (const [, make] of ODD_FILES) {
      make(join(folder, "l2tpsession.shop.lan.json"));
      await until("the status is valid again", () => isWhole("lan"));
    }
    expectOk(await call("DEL", pod));
    expect(deferred().filter((name) => name.endsWith(".json"))).toEqual([]);
  });
});

describe("a datapath that is down", () => {
  /** An agent whose datapath another container runs. */
  const start = () => agent.start("--datapath-external", "--datapath", "userspace");
  let socket: string;

  beforeEach(async () => {
    socket = join(agent.folder, "run", "datapath.sock");
    background.start(inside(net.a.name, bin("l2tp-datapath"), "--socket", socket));
    await until("the datapath answers", () => agent.datapathPid());
    await start();
    await until("the session is programmed", async () => {
      const { status } = agent.condition("l2tpsession", "shop/lan", "Programmed") ?? {};
      return status === "True";
    });
  });

  const endDatapath = async () => process.kill(await agent.datapathPid(), "SIGKILL");

  it("fails ADD and CHECK with code 11, and STATUS with 50; DEL and GC are deferred", async () => {
    const [one, two] = [await net.addPod("one"), await net.addPod("two")];
    const added = expectOk(await call("ADD", one));
    expectOk(await call("STATUS", ""));
    await endDatapath();
    await until("the datapath does not answer", () =>
      agent.datapathPid().then(
        () => false,
        () => true,
      ),
    );
    const wanted = { session: "wan" };
    const refused = await call("ADD", two, wanted, { containerId: "c2" });
    expect(refused.json).toMatchObject({ code: 11, msg: expect.stringContaining("datapath") });
    expect((await call("STATUS", "")).json).toMatchObject({ code: 50 });
    const check = await call("CHECK", one, { prevResult: added.json });
    expect(check.json).toMatchObject({ code: 11, msg: expect.stringContaining("datapath") });
    // Each repetition fails: the agent does not record a failed request as done.
    const again = await call("ADD", two, wanted, { containerId: "c2" });
    expect(again.json).toMatchObject({ code: 11 });
    expectOk(await call("GC", "", { "cni.dev/valid-attachments": [] }));
    expectOk(await call("DEL", one));
    expectOk(await call("DEL", two, wanted, { containerId: "c2" }));
    background.start(inside(net.a.name, bin("l2tp-datapath"), "--socket", socket));
    await until("STATUS succeeds", async () => (await call("STATUS", "")).status === 0);
    await until("the deferred requests are done", () => deferred().length === 0);
    expect(await agent.ask({ op: "attachments" })).toEqual([]);
    expect(await link(one, "net1")).toBeUndefined();
    expectOk(await call("ADD", two, {}, { containerId: "c2" }));
  });

  it.each(["ADD", "CHECK", "DEL"])("may stop during %s", async (command) => {
    const pod = await net.addPod("pod");
    const result = command === "ADD" ? null : expectOk(await call("ADD", pod)).json;
    const pid = await agent.datapathPid();
    process.kill(pid, "SIGSTOP");
    const asked = call(command, pod, result === null ? {} : { prevResult: result });
    // The request has reached the process, which is killed before it answers.
    await until("the agent waits for it", () => hasUnread(socket));
    process.kill(pid, "SIGKILL");
    const answer = await asked;
    if (command === "DEL") expectOk(answer);
    else expect(answer.json).toMatchObject({ code: 11 });
  });
});

describe("an agent that is down", () => {
  it("carries out a deferred DEL before the same pod is added again", async () => {
    await agent.start();
    const pod = await net.addPod("pod");
    expectOk(await call("ADD", pod));
    await agent.kill();
    expectOk(await call("DEL", pod));
    expect(deferred()).toHaveLength(1);
    await agent.start();
    expectOk(await call("ADD", pod));
    expect(await link(pod, "net1")).toBeDefined();
    expect(deferred()).toEqual([]);
  });

  it("may stop during a request: ADD and CHECK fail with 11, STATUS with 50, and DEL succeeds", async () => {
    await agent.start();
    const pod = await net.addPod("pod");
    const added = expectOk(await call("ADD", pod));
    for (const [command, code] of [
      ["CHECK", 11],
      ["STATUS", 50],
      ["ADD", 11],
      ["DEL", 0],
    ] as const) {
      process.kill(agent.pid(), "SIGSTOP");
      const asked = call(command, pod, { prevResult: added.json });
      await until("the plugin has connected", () => hasUnread(agent.socket));
      await agent.kill();
      const answer = await asked;
      if (code === 0) expectOk(answer);
      else expect(answer.json).toMatchObject({ code });
      await agent.start();
    }
    await until("the interface is deleted", async () => (await link(pod, "net1")) === undefined);
  });
});

it("directories in place of the lock and the sockets prevent neither process from starting", async () => {
  for (const name of ["agent.sock", "datapath.sock", "datapath.sock.lock", "deferred"]) {
    mkdirSync(join(agent.folder, "run", name), { recursive: true });
  }
  await agent.start();
  expect(await agent.datapathPid()).toBeGreaterThan(0);
  await agent.kill();
  const full = join(agent.folder, "run", "agent.sock");
  rmSync(full);
  mkdirSync(join(full, "x"), { recursive: true });
  const { status, stderr } = await tryRun(agent.command());
  expect(status).toBe(2);
  expect(stderr).toMatch(/agent\.sock: is a directory that is not empty/);
});

describe("an agent that answers with an error", () => {
  /** Error codes of the protocol, and unknown codes of other versions. */
  it.each<[string, number, number]>([
    ["DatapathAway", 11, 0],
    ["SystemCallFailed", 11, 0],
    ["ApplyFailed", 11, 0],
    ["NotReady", 11, 0],
    ["ClientGone", 11, 0],
    ["EBUSY", 11, 0],
    ["ENOBUFS", 11, 0],
    ["ECONNREFUSED", 11, 0],
    ["InvalidRequest", 7, 7],
    ["SomethingNew", 999, 999],
  ])("%s: ADD and CHECK answer %i, DEL and GC %i, STATUS 50", async (code, added, deleted) => {
    const server = await serve({
      path: agent.socket,
      ...{ maxRequestBytes: 100_000, maxConnections: 8, idleTimeoutMs: 60_000 },
      handle: async () => {
        throw Object.assign(new Error("no"), { code });
      },
    });
    try {
      const pod = await net.addPod("pod");
      const valid = { "cni.dev/valid-attachments": [] };
      const answers = {
        ADD: await call("ADD", pod),
        CHECK: await call("CHECK", pod, { prevResult: {} }),
        STATUS: await call("STATUS", ""),
        DEL: await call("DEL", pod),
        GC: await call("GC", "", valid),
      };
      const codes = Object.values(answers).map(({ json }) => json?.code ?? 0);
      expect(codes).toEqual([added, added, 50, deleted, deleted]);
      expect(deferred()).toHaveLength(deleted === 0 ? 2 : 0);
    } finally {
      server.close();
    }
  });
});

describe("the socket of a network configuration", () => {
  let base: string;

  beforeEach(async () => {
    await agent.start();
    base = mkdtempSync(join(tmpdir(), "socket-"));
  });

  afterEach(() => rmSync(base, { recursive: true, force: true }));

  const folder = (name: string, mode: number, uid = 0) => {
    const path = join(base, name);
    mkdirSync(path, { recursive: true });
    chmodSync(path, mode);
    chownSync(path, uid, uid);
    return path;
  };
  const linkOf = (name: string, target: string, uid = 0) => {
    const path = join(base, name);
    symlinkSync(target, path);
    return tryRun(["chown", "-h", String(uid), path]).then(() => path);
  };

  const refused: [string, () => Promise<string> | string, RegExp][] = [
    [
      "that all users can write to",
      () => folder("open", 0o777),
      /users other than root can write.*0777/,
    ],
    ["that is sticky", () => folder("sticky", 0o1777), /users other than root can write.*1777/],
    ["that a group can write to", () => folder("group", 0o770), /users other than root can write/],
    ["of another user", () => folder("user", 0o700, 1000), /belongs to user 1000/],
    [
      "in a folder of another user",
      () => {
        folder("of", 0o755, 1000);
        return folder("of/mine", 0o700);
      },
      /of belongs to user 1000/,
    ],
    [
      "in a folder that all users can write to",
      () => {
        folder("wide", 0o777);
        return folder("wide/mine", 0o700);
      },
      /wide \(mode 0777\)/,
    ],
    [
      "behind a symbolic link of another user",
      () => {
        folder("tmp", 0o1777);
        return linkOf("tmp/link", folder("fine", 0o700), 1000);
      },
      /link belongs to user 1000/,
    ],
    [
      "behind a symbolic link to a folder that all users can write to",
      () => linkOf("link", folder("open", 0o777)),
      /open \(mode 0777\)/,
    ],
    [
      "that does not exist, in a folder that all users can write to",
      () => join(folder("tmp", 0o1777), "none"),
      /any user can create it/,
    ],
    [
      "behind a loop of symbolic links",
      () => linkOf("circle", join(base, "circle")),
      /circle of symbolic/,
    ],
  ];

  it.each(refused)(
    "must not be in a folder %s, and nothing is created there",
    async (_what, make, why) => {
      const path = await make();
      const socket = join(path, "agent.sock");
      const pod = await net.addPod("pod");
      for (const command of ["ADD", "DEL", "STATUS"]) {
        const answer = await call(command, pod, { socket });
        expect(answer).toMatchObject({ status: 1, json: { code: 7 } });
        expect(answer.json.msg).toMatch(why);
      }
      expect(tree(base).filter((name) => /deferred|json/.test(name))).toEqual([]);
    },
  );

  const tree = (path: string) => readdirSync(path, { recursive: true }).map(String);

  it("can be a symbolic link of root's, and requests are deferred next to its target", async () => {
    const pod = await net.addPod("pod");
    const socket = join(folder("fine", 0o700), "agent.sock");
    symlinkSync(agent.socket, socket);
    expectOk(await call("ADD", pod, { socket }));
    await agent.kill();
    expectOk(await call("DEL", pod, { socket }));
    expect(deferred()).toHaveLength(1);
    expect(tree(base)).toEqual(["fine", "fine/agent.sock"]);
  });

  it("can be in a world-readable folder of root's, and below a sticky folder", async () => {
    const socket = join(folder("wide", 0o1777), "mine", "agent.sock");
    folder("wide/mine", 0o755);
    renameSync(agent.socket, socket);
    expectOk(await call("STATUS", "", { socket }));
  });
});

describe("a state folder", () => {
  it("has one agent: another names the holder, until the holder exits or is killed", async () => {
    await agent.start();
    const pid = agent.pid();
    const other = join(agent.folder, "other", "agent.sock");
    const started = await tryRun(agent.command("--socket", other));
    expect(started.status).toBe(2);
    expect(started.stderr).toContain(`process ${pid} `);
    expect(started.stderr).toMatch(/stop it, or set another --state-dir/);
    const torn = await tryRun(agent.command("--teardown", "--socket", other));
    expect(torn.status).toBe(2);
    expect(torn.stderr).toContain(`process ${pid} `);
    expect((await agent.ask({ op: "sessions" })).length).toBeGreaterThan(0);
    await agent.kill("SIGKILL");
    // Its datapath keeps running, and does not hold the lock.
    expect(await agent.datapathPid()).toBeGreaterThan(0);
    await agent.start();
  });

  it("is locked itself: deleting its files does not release the lock", async () => {
    await agent.start();
    for (const name of readdirSync(agent.state)) {
      rmSync(join(agent.state, name), { recursive: true });
    }
    const { stderr } = await tryRun(
      agent.command("--socket", join(agent.folder, "o", "agent.sock")),
    );
    expect(stderr).toContain(`process ${agent.pid()} `);
  });

  it("that is a file is reported as such", async () => {
    writeFileSync(agent.state, "x");
    const { status, stderr } = await tryRun(agent.command());
    expect(status).toBe(2);
    expect(stderr).toMatch(/--state-dir .*EEXIST.*; use a folder/);
  });
});

describe("SIGUSR1", () => {
  const SIGUSR1 = 1n << 9n;
  const HANDLED = /^SigCgt:\s*([0-9a-f]+)/m;

  /** True if the process handles SIGUSR1: Node then opens an inspector. */
  function catches(pid: number): boolean {
    const mask = HANDLED.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? "0";
    return (BigInt(`0x${mask}`) & SIGUSR1) !== 0n;
  }

  async function expectDeaf(pid: number): Promise<void> {
    expect(catches(pid)).toBe(false);
    process.kill(pid, "SIGUSR1");
    const { stdout } = await tryRun(inside(net.a.name, "ss", "-ltnH"));
    expect(stdout).not.toContain("9229");
  }

  it("opens no inspector in the agent or its datapath", async () => {
    await agent.start();
    await expectDeaf(agent.pid());
    await expectDeaf(await agent.datapathPid());
    await agent.ask({ op: "ready" });
    expect(agent.log).not.toContain("Debugger");
  });

  it("opens none in a datapath with the ignored option --threads", async () => {
    const socket = join(agent.folder, "threads.sock");
    let log = "";
    const child = background.start(
      inside(net.a.name, bin("l2tp-datapath"), "--socket", socket, "--threads", "2"),
      (text) => {
        log += text;
      },
    );
    await until("the datapath listens", () => existsSync(socket));
    await until("the log reports the ignored option", () => log.includes("--threads 2 is ignored"));
    await expectDeaf(child.pid ?? 0);
  });

  it("opens none in l2tpctl or the controller", async () => {
    const kubeconfig = join(agent.folder, "kubeconfig");
    const server = "https://127.0.0.1:1";
    writeFileSync(
      kubeconfig,
      JSON.stringify({
        apiVersion: "v1",
        kind: "Config",
        "current-context": "x",
        clusters: [{ name: "x", cluster: { server } }],
        users: [{ name: "x", user: { token: "t" } }],
        contexts: [{ name: "x", context: { cluster: "x", user: "x" } }],
      }),
    );
    let log = "";
    const controller = background.start(
      inside(net.a.name, bin("l2tp-controller"), "--kubeconfig", kubeconfig),
      (text) => {
        log += text;
      },
    );
    await until("the controller logs", () => log !== "");
    await expectDeaf(controller.pid ?? 0);
    await agent.start();
    const doctor = background.start(
      inside(net.a.name, bin("l2tpctl"), "doctor", "--seconds", "30", "--socket", agent.socket),
    );
    await until("l2tpctl waits for the agent", async () =>
      (await socketsOf(agent.socket)).some(([, state]) => state === "ESTAB"),
    );
    await expectDeaf(doctor.pid ?? 0);
  });

  it("opens none in the image's programs", async () => {
    const root = mkdtempSync(join(tmpdir(), "rootfs-"));
    try {
      buildRootfs(root);
      const names = readdirSync(join(root, "usr/bin")).filter((name) => name.endsWith(".mjs"));
      expect(names).toHaveLength(5);
      for (const name of names) {
        const program = readFileSync(join(root, "usr/bin", name), "utf8");
        expect(program).toMatch(/^#!\/usr\/bin\/node --disable-sigusr1\n/);
      }
      const child = background.start(
        inside(net.a.name, "chroot", root, "/usr/bin/l2tp-datapath", "--socket", "/run/d.sock"),
      );
      await until("the datapath listens", () => existsSync(join(root, "run/d.sock")));
      await expectDeaf(child.pid ?? 0);
      await stop(child);
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
  });
});
