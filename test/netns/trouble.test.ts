/** Clock jumps, full disks, stale sockets, invalid manifests, and wrong commands. */

import { closeSync, openSync, rmSync, statSync, writeFileSync, writeSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeEach, describe, expect, it } from "vitest";
import { TestAgent } from "../harness/agent.ts";
import { JumpingClock } from "../harness/clock.ts";
import { cni } from "../harness/cni.ts";
import { inside, link, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { run, tryRun } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

let net: TestNet;
let agent: TestAgent;

beforeEach(async () => {
  net = await TestNet.create();
  agent = new TestAgent(net.a);
  agent.write("good.yaml", [tunnelObject("branch", net.a, net.b), sessionObject("lan", "branch")]);
});

afterEach(async () => {
  await agent.destroy();
  await net.remove();
});

const config = (session = "shop/lan") => ({
  cniVersion: "1.1.0",
  name: "branch",
  type: "l2tp",
  session,
  socket: agent.socket,
});

describe("a clock that jumps", () => {
  const clock = new JumpingClock();
  afterAll(() => clock.remove());

  it.each(["+3d", "-3d"])("by %s interrupts nothing", async (offset) => {
    clock.jump("+0");
    agent.prefix = clock.command;
    await agent.start();
    const pod = await net.addPod("one");
    const attached = { netns: pod, config: config(), containerId: "c1" };
    expect((await cni(net.a, { command: "ADD", ...attached })).status).toBe(0);
    const before = agent.condition("l2tpsession", "shop/lan", "Programmed");
    clock.jump(offset);
    agent.write("more.yaml", [sessionObject("wan", "branch", { sessionId: 9, peerSessionId: 9 })]);
    await until("the new session is programmed", () => agent.session("shop/wan"));
    expect(await link(pod, "net1")).toBeDefined();
    expect(agent.condition("l2tpsession", "shop/lan", "Programmed")).toEqual(before);
    // GC decides by the runtime's list of attachments, not by the clock.
    const valid = { "cni.dev/valid-attachments": [{ containerID: "c1", ifname: "net1" }] };
    const gc = await cni(net.a, { command: "GC", config: { ...config(), ...valid } });
    expect(gc).toMatchObject({ status: 0 });
    expect(await link(pod, "net1")).toBeDefined();
    // A restarted agent and datapath keep the session.
    await agent.kill();
    process.kill(await agent.datapathPid(), "SIGKILL");
    await agent.start();
    await until("the pod is attached", async () => {
      const row = await agent.session("shop/lan");
      return row?.attachedTo.length === 1;
    });
    expect((await cni(net.a, { command: "DEL", ...attached })).status).toBe(0);
    expect(await link(pod, "net1")).toBeUndefined();
  });
});

describe("a full disk", () => {
  beforeEach(async () => {
    await run(["mkdir", agent.state]);
    await run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", agent.state]);
  });

  afterEach(async () => {
    await agent.kill();
    await run(["umount", agent.state]);
  });

  function fill(): string {
    const path = join(agent.state, "filler");
    const file = openSync(path, "w");
    try {
      for (;;) writeSync(file, Buffer.alloc(4096));
    } catch {
      // Fill the disk.
    }
    closeSync(file);
    return path;
  }

  it("blocks neither DEL nor running sessions, and is reported where it blocks", async () => {
    await agent.start();
    const [first, second] = [await net.addPod("one"), await net.addPod("two")];
    const attached = { netns: first, config: config(), containerId: "c1" };
    expect((await cni(net.a, { command: "ADD", ...attached })).status).toBe(0);
    const filler = fill();
    agent.write("more.yaml", [sessionObject("wan", "branch", { sessionId: 9, peerSessionId: 9 })]);
    await until("the new session is programmed", () => agent.session("shop/wan"));
    await until("the log reports it", () => agent.log.includes("cannot write status"));

    const wanted = { netns: second, config: config("shop/wan"), containerId: "c2" };
    const refused = await cni(net.a, { command: "ADD", ...wanted });
    expect(refused.json).toMatchObject({
      code: 5,
      msg: expect.stringMatching(/ENOSPC.*--state-dir/),
    });
    expect(await link(second, "net1")).toBeUndefined();
    expect((await cni(net.a, { command: "DEL", ...attached })).status).toBe(0);
    expect(await link(first, "net1")).toBeUndefined();

    rmSync(filler);
    await until("the status is written", () =>
      agent.condition("l2tpsession", "shop/wan", "Programmed"),
    );
    expect((await cni(net.a, { command: "ADD", ...wanted })).status).toBe(0);
  });
});

describe("sockets", () => {
  it("of dead processes are replaced", async () => {
    await agent.start();
    const datapath = await agent.datapathPid();
    await agent.kill();
    process.kill(datapath, "SIGKILL");
    await until("the datapath exits", () =>
      agent.datapathPid().then(
        () => false,
        () => true,
      ),
    );
    for (const name of ["agent.sock", "datapath.sock"]) {
      expect(statSync(join(agent.folder, "run", name)).isSocket()).toBe(true);
    }
    await agent.start();
    expect(await agent.datapathPid()).not.toBe(datapath);
    for (const name of ["agent.sock", "datapath.sock"]) {
      expect(statSync(join(agent.folder, "run", name)).mode & 0o777).toBe(0o600);
    }
  });

  it("of running processes are not replaced: a second agent does not disturb the first", async () => {
    await agent.start();
    const { status, stderr } = await tryRun(agent.command());
    expect(status).toBe(2);
    expect(stderr).toMatch(/process \d+ .* uses the state folder .* stop it, or set another/);
    await agent.ask({ op: "ready" });
  });
});

describe("one datapath", () => {
  it("is awaited if it does not answer; the agent starts no second one", async () => {
    await agent.start();
    const pid = await agent.datapathPid();
    // Open connections until the process accepts no more.
    await agent.kill();
    const path = join(agent.folder, "run", "datapath.sock");
    const idle = Array.from({ length: 16 }, () => connect(path).on("error", () => {}));
    await Promise.all(idle.map((one) => new Promise((done) => one.once("connect", done))));
    agent.log = "";
    agent.launch();
    await until("the agent logs the failure", () => agent.log.includes("reconcile failed"));
    for (const one of idle) one.destroy();
    await until("the agent is ready", () => agent.ask({ op: "ready" }).then(() => true));
    expect(await agent.datapathPid()).toBe(pid);
  });

  it("stays the only one if its socket is deleted: the agent reports it, and starts no other", async () => {
    await agent.start();
    const pid = await agent.datapathPid();
    await agent.kill();
    rmSync(join(agent.folder, "run", "datapath.sock"));
    agent.log = "";
    agent.launch();
    await until("the agent logs the reason", () =>
      agent.log.includes("another l2tp-datapath is running"),
    );
    process.kill(pid, "SIGKILL");
    await until("the agent is ready", () => agent.ask({ op: "ready" }).then(() => true));
    expect(await agent.datapathPid()).not.toBe(pid);
  });
});

describe("--teardown", () => {
  it("fails while an agent runs, and requires neither manifests nor a node name", async () => {
    await agent.start();
    const pod = await net.addPod("pod");
    expect((await cni(net.a, { command: "ADD", netns: pod, config: config() })).status).toBe(0);
    const command = inside(
      net.a.name,
      fileURLToPath(new URL("../../bin/l2tp-agent", import.meta.url)),
      ...["--teardown", "--state-dir", agent.state, "--socket", agent.socket],
    );
    const refused = await tryRun(command);
    expect(refused.stderr).toMatch(/an agent serves .*stop it before --teardown/);
    expect(refused.status).toBe(2);
    expect(await link(pod, "net1")).toBeDefined();
    await agent.kill("SIGTERM");
    const done = await tryRun(command);
    expect(done.status, done.stderr).toBe(0);
    expect(await link(pod, "net1")).toBeUndefined();
    await agent.start();
    expect(await agent.ask({ op: "attachments" })).toEqual([]);
    expect(await link(pod, "net1")).toBeUndefined();
  });
});

describe("a tunnel that cannot be programmed", () => {
  const away = () => {
    const local = { address: "192.0.2.99", port: 5000 };
    return tunnelObject("away", net.a, net.b, { tunnelId: 9, peerTunnelId: 9, local });
  };

  it("does not block DEL, and its deferred requests do not block other pods' ADDs", async () => {
    const lost = sessionObject("lost", "away", { sessionId: 9, peerSessionId: 9 });
    agent.write("away.yaml", [away(), lost]);
    await agent.start();
    const [bad, good] = [await net.addPod("bad"), await net.addPod("good")];
    const wanted = { netns: bad, config: config("shop/lost"), containerId: "bad" };
    const refused = await cni(net.a, { command: "ADD", ...wanted });
    expect(refused.json).toMatchObject({ code: 11, msg: expect.stringContaining("EADDRNOTAVAIL") });
    expect((await cni(net.a, { command: "DEL", ...wanted })).stdout).toBe("");
    await agent.kill();
    expect((await cni(net.a, { command: "DEL", ...wanted })).status).toBe(0);
    await agent.start();
    const fine = await cni(net.a, { command: "ADD", netns: good, config: config() });
    expect(fine.status, fine.stdout).toBe(0);
  });

  it("is listed first by the doctor, and shown in the lists", async () => {
    agent.write("away.yaml", [away()]);
    agent.write("typo.yaml", [sessionObject("typo", "branch", { sessionId: 7, mtuu: 1 } as never)]);
    const secret = { receive: { valueFrom: { secretKeyRef: { name: "no", key: "rx" } } } };
    const ids = { sessionId: 8, peerSessionId: 8 };
    agent.write("secret.yaml", [sessionObject("secret", "branch", { ...ids, cookies: secret })]);
    agent.write("broken.yaml", "kind: [");
    await agent.start();
    const { findings } = await agent.ask({ op: "doctor", seconds: 0 });
    const text = findings.map(({ object, finding }) => `${object}: ${finding}`).join("\n");
    expect(text).toMatch(/L2tpTunnel away: AddressNotAvailable/);
    expect(text).toMatch(/L2tpSession shop\/typo: .*spec\.mtuu: unknown field/);
    expect(text).toMatch(/L2tpSession shop\/secret: NoSecret: .*rx/);
    expect(text).toMatch(/broken\.yaml: the file/);
    const names = (await agent.ask({ op: "sessions" })).map(({ name }) => name);
    expect(names).toEqual(["shop/lan", "shop/secret", "shop/typo"]);
  });

  it("may belong to another node: the agent logs why it has nothing to do", async () => {
    agent.write("good.yaml", [tunnelObject("branch", net.b, net.a)]);
    await agent.start();
    await agent.logs(`found: ${net.b.name}`);
    const { findings } = await agent.ask({ op: "doctor", seconds: 0 });
    expect(findings).toMatchObject([{ remedy: expect.stringContaining("--node") }]);
  });
});

describe("manifests", () => {
  const tunnel = (name: string, spec: object) =>
    tunnelObject(name, net.a, net.b, {
      ...{ tunnelId: 7, peerTunnelId: 7 },
      local: { address: net.a.ipv4, port: 5007 },
      ...spec,
    });

  it("are rejected with a reason if invalid, and the others are applied", async () => {
    const session = (name: string, spec: object) => sessionObject(name, "branch", spec);
    const odd: [string, object, RegExp][] = [
      ["l2tpsession shop/zero", session("zero", { sessionId: 0 }), /spec\.sessionId: 0/],
      [
        "l2tpsession shop/large",
        session("large", { sessionId: 2 ** 32 }),
        /spec\.sessionId: 4294967296/,
      ],
      ["l2tpsession shop/peer", session("peer", { peerSessionId: 0 }), /spec\.peerSessionId: 0/],
      [
        "l2tpsession shop/cookie",
        session("cookie", { sessionId: 20, cookies: { receive: { value: "a1b2c3" } } }),
        /spec\.cookies\.receive.*8 or 16/,
      ],
      ["l2tpsession shop/twice", session("twice", {}), /sessionId: 128.*shop\/lan/],
      [
        "l2tpsession shop/orphan",
        sessionObject("orphan", "nope", { sessionId: 21 }),
        /L2tpTunnel not found/,
      ],
      [
        "l2tpsession shop/field",
        session("field", { sessionId: 22, mtuu: 1400 }),
        /spec\.mtuu.*unknown field/,
      ],
      [
        "l2tptunnel self",
        tunnel("self", { remote: { address: net.a.ipv4, port: 5007 } }),
        /spec\.remote.*remote and local endpoint are the same/,
      ],
      [
        "l2tptunnel rival",
        tunnel("rival", { local: { address: net.a.ipv4, port: 5000 } }),
        /branch/,
      ],
      [
        "l2tptunnel id",
        tunnel("id", { tunnelId: 1, local: { address: net.a.ipv4, port: 5009 } }),
        /tunnelId: 1.*branch/,
      ],
      [
        "l2tptunnel multicast",
        tunnel("multicast", { remote: { address: "224.0.0.1", port: 1 } }),
        /multicast/,
      ],
    ];
    for (const [what, object] of odd) agent.write(`${what.replace(/\W/g, "-")}.yaml`, [object]);
    agent.write("broken.yaml", "kind: [L2tpTunnel\n\t- x");
    agent.write("kinds.yaml", [
      { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "x" } },
      { apiVersion: "l2tp.dev/v1alpha1", kind: "L2tpRouter", metadata: { name: "x" } },
      { apiVersion: "l2tp.dev/v9", kind: "L2tpTunnel", metadata: { name: "x" } },
      { apiVersion: "l2tp.dev/v1alpha1", kind: "L2tpTunnel", metadata: { name: "../../x" } },
    ]);
    agent.write("text.yaml", "just text\n---\n- a list\n---\n42\n");
    await agent.start();
    for (const [what, , message] of odd) {
      const [kind = "", key = ""] = what.split(" ");
      const condition = agent.condition(kind as "l2tptunnel", key, "Accepted");
      expect(condition, what).toMatchObject({ status: "False" });
      expect(condition?.message, what).toMatch(message);
    }
    expect(agent.condition("l2tpsession", "shop/lan", "Programmed")).toMatchObject({
      status: "True",
    });
    for (const line of [
      /broken\.yaml.*line 2/,
      /kinds\.yaml \(ConfigMap x\).*not a kind of l2tp\.dev/,
      /kinds\.yaml, document 2.*L2tpRouter/,
      /kinds\.yaml, document 3.*l2tp\.dev\/v9.*use l2tp\.dev\/v1alpha1/,
      /kinds\.yaml, document 4.*metadata\.name/,
      /text\.yaml: kind: not a kind/,
      /text\.yaml, document 3/,
    ]) {
      await agent.logs(line);
    }
    const pod = await net.addPod("pod");
    expect((await cni(net.a, { command: "ADD", netns: pod, config: config() })).status).toBe(0);
  });
});

describe("commands", () => {
  const bin = (name: string) => fileURLToPath(new URL(`../../bin/${name}`, import.meta.url));

  it.each<[string, string[], number, RegExp]>([
    ["l2tp-agent", [], 2, /missing --node <name>, and --manifests.*\n.*edge-1\n.*--help/],
    ["l2tp-agent", ["--node", "n"], 2, /no cluster.*--manifests.*--kubeconfig/],
    ["l2tp-controller", [], 2, /no cluster.*--kubeconfig/],
    ["l2tp-controller", ["--help"], 0, /--lease/],
    ["l2tp-agent", ["--help"], 0, /--state-dir/],
    ["l2tp-agent", ["--manifests", "/etc/hosts", "--node", "n"], 2, /\/etc\/hosts .* not a direc/],
    ["l2tp-agent", ["--manifests", "/nope", "--node", "n"], 2, /\/nope does not exist; create /],
    ["l2tp-agent", ["--manifests", "/etc"], 2, /missing --node <name>; for example/],
    ["l2tpctl", ["decode", "--secret-file", "/nope", "/etc/hosts"], 2, /--secret-file: .*\/nope/],
    ["l2tp-agent", ["--manifests", "/tmp", "--node", "n", "--resync", "0"], 1, /0\.1 to 3600/],
    ["l2tp-agent", ["--manifests", "/tmp", "--node", "n", "--datapath", "x"], 1, /userspace/],
    ["l2tp-datapath", [], 1, /--socket/],
    [
      "l2tpctl",
      ["sessions", "--socket", "/nope.sock"],
      2,
      /\/nope\.sock.*check that the agent runs/,
    ],
    ["l2tpctl", ["nope"], 1, /nope/],
    ["l2tpctl", ["--help"], 0, /doctor/],
  ])("%s %j", async (name, args, status, text) => {
    const answer = await tryRun([bin(name), ...args]);
    expect(answer.stdout + answer.stderr).toMatch(text);
    expect(answer.status).toBe(status);
  });

  it("dist/l2tp prints its help without CNI_COMMAND, and reads no file of the working folder", async () => {
    const plugin = fileURLToPath(new URL("../../dist/l2tp", import.meta.url));
    const { stderr, status } = await tryRun([plugin, "--help"]);
    expect(stderr).toContain("CNI plugin");
    expect(status).toBe(0);
    writeFileSync(join(agent.folder, ".env"), "CNI_COMMAND=VERSION\n");
    const inside = await tryRun(["sh", "-c", `cd ${agent.folder} && exec ${plugin}`]);
    expect(inside.stdout).toBe("");
    expect(inside.status).toBe(1);
  });
});
