/** A standalone agent on a test host, with its folders, its socket and its datapath process. */
import type { ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { stringify } from "yaml";
import type { AgentRequest, AgentResults } from "../../operator/agent-protocol.ts";
import { RpcClient } from "../../rpc/client.ts";
import { type Host, inside } from "./net.ts";
import { Background, type Output, stop, tryRun } from "./run.ts";
import { until } from "./wait.ts";

const PROGRAM = fileURLToPath(new URL("../../bin/l2tp-agent", import.meta.url));

export class TestAgent {
  readonly host: Host;
  readonly folder: string;
  readonly manifests: string;
  readonly state: string;
  readonly socket: string;
  readonly secrets: string;
  log = "";
  /** A prefix of the agent's command, such as a Clock's. */
  prefix: readonly string[] = [];
  readonly #program: string;
  #child: ChildProcess | null = null;
  readonly #background = new Background();

  /** @param program the agent's source file; the default is this tree's */
  constructor(host: Host, program = PROGRAM) {
    this.host = host;
    this.#program = program;
    this.folder = mkdtempSync(join(tmpdir(), "l2tp-agent-"));
    this.manifests = join(this.folder, "manifests");
    this.state = join(this.folder, "state");
    this.secrets = join(this.manifests, "secrets");
    this.socket = join(this.folder, "run", "agent.sock");
    mkdirSync(this.manifests);
  }

  /** Writes objects into a file of the manifest folder. Text is written unchanged. */
  write(file: string, content: string | readonly object[]): void {
    const text =
      typeof content === "string" ? content : content.map((item) => stringify(item)).join("---\n");
    writeFileSync(join(this.manifests, file), text);
  }

  remove(file: string): void {
    rmSync(join(this.manifests, file));
  }

  writeSecret(namespace: string, name: string, key: string, text: string, mode = 0o600): void {
    const folder = join(this.secrets, namespace, name);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, key), text, { mode });
  }

  command(...extra: string[]): string[] {
    const folders = ["--manifests", this.manifests, "--state-dir", this.state];
    const rest = ["--node", this.host.name, "--socket", this.socket, "--resync", "1"];
    return inside(this.host.name, ...this.prefix, this.#program, ...folders, ...rest, ...extra);
  }

  /** Starts the agent, and waits until it answers. */
  async start(...extra: string[]): Promise<void> {
    this.launch(...extra);
    await until(
      () => `the agent of ${this.host.name} is ready\n${this.log}`,
      () => this.ask({ op: "ready" }).then(() => true),
    );
  }

  /** Waits until the log contains the text. The agent's output arrives with a delay. */
  async logs(text: string | RegExp): Promise<void> {
    await until(
      () => `the agent of ${this.host.name} logs ${text}\n${this.log}`,
      () => (typeof text === "string" ? this.log.includes(text) : text.test(this.log)),
    );
  }

  /** Starts the agent, and does not wait. */
  launch(...extra: string[]): void {
    this.#child = this.#background.start(this.command(...extra), (text) => {
      this.log += text;
    });
  }

  /** Kills the agent, and leaves the datapath running. */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    if (this.#child !== null) await stop(this.#child, signal);
    this.#child = null;
  }

  get hasEnded(): boolean {
    return this.#child?.exitCode !== null || this.#child?.signalCode !== null;
  }

  /** Waits until the agent exits by itself. */
  async ended(): Promise<void> {
    await until("the agent exits", () => this.hasEnded);
  }

  async ask<R extends AgentRequest>(request: R): Promise<AgentResults[R["op"]]> {
    const client = await RpcClient.connect(this.socket, 64 * 1024 * 1024, 2000);
    try {
      return (await client.request(request, 60_000)) as AgentResults[R["op"]];
    } finally {
      client.close();
    }
  }

  /** The session's row of `l2tpctl sessions`, with its counters. */
  async session(name: string) {
    return (await this.ask({ op: "sessions" })).find((row) => row.name === name);
  }

  /** A condition's status, from the state folder. */
  condition(kind: "l2tptunnel" | "l2tpsession", key: string, type: string) {
    const path = join(this.state, "status", `${kind}.${key.replace("/", ".")}.json`);
    const { status } = JSON.parse(readFileSync(path, "utf8")) as {
      status: { conditions: { type: string; status: string; reason: string; message: string }[] };
    };
    return status.conditions.find((condition) => condition.type === type);
  }

  /** Overwrites the file of the container's attachment with invalid content. Returns its path. */
  damageAttachment(containerId: string): string {
    const folder = join(this.state, "attachments");
    const paths = readdirSync(folder).map((name) => join(folder, name));
    const path = paths.find((file) => readFileSync(file, "utf8").includes(`"${containerId}"`));
    if (path === undefined) throw new Error(`no attachment of ${containerId}`);
    writeFileSync(path, '{"session": 7}');
    return path;
  }

  /** The agent's process ID: the programs that start the agent replace themselves by exec. */
  pid(): number {
    return this.#child?.pid ?? 0;
  }

  async datapathPid(): Promise<number> {
    const path = join(this.folder, "run", "datapath.sock");
    const client = await RpcClient.connect(path, 64 * 1024 * 1024, 2000);
    try {
      return ((await client.request({ op: "hello" }, 60_000)) as { pid: number }).pid;
    } finally {
      client.close();
    }
  }

  /** Deletes what the agent programmed: tunnels in the kernel outlive the agent. */
  async teardownOrKill(): Promise<void> {
    await this.kill();
    await this.teardown();
  }

  teardown(): Promise<Output> {
    return tryRun(this.command("--teardown"));
  }

  /** Ends the agent and its datapath. */
  async destroy(): Promise<void> {
    await this.kill();
    const pid = await this.datapathPid().catch(() => null);
    if (pid !== null) process.kill(pid, "SIGKILL");
    await this.#background.stopAll();
    // A process that is being killed may still write to the folder.
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}
