/**
 * Machines of a page, such as "edge" and "router": network namespaces, each with its own copy of a machine's folders,
 * so that the page's commands run unchanged.
 */
import { mkdirSync, rmdirSync } from "node:fs";
import { inside, nameOf, TestNet } from "./net.ts";
import { PageShell } from "./page-shell.ts";
import { ROOT, type RunPage, runnableBlocks } from "./pages.ts";
import { Background, run, tryRun } from "./run.ts";
import { until } from "./wait.ts";

/** Folders that pages write to. Each box has its own, empty at first. */
const FOLDERS = [
  "/etc/l2tp-cni",
  "/etc/cni",
  "/etc/systemd/system",
  "/opt/cni",
  "/run/l2tp-cni",
  "/run/netns",
  "/usr/local/bin",
  "/var/lib/cni",
  "/var/lib/l2tp-cni",
] as const;
const READY = "the box is ready";
/** The log line that docs/edge.md names. */
const AGENT_READY = '"msg":"ready"';

export class Box {
  readonly name: string;
  readonly #pid: number;
  readonly #holder: Background;
  readonly #programs = new Background();
  readonly #made: readonly string[];
  readonly shell: PageShell;
  log = "";

  private constructor(name: string, pid: number, holder: Background, made: readonly string[]) {
    this.name = name;
    this.#pid = pid;
    this.#holder = holder;
    this.#made = made;
    this.shell = new PageShell(this.command(), { cwd: ROOT });
  }

  /** @param netns the name of an existing network namespace */
  static async create(name: string, netns: string): Promise<Box> {
    const made = FOLDERS.flatMap((path) => {
      const first = mkdirSync(path, { recursive: true });
      return first === undefined ? [] : [first, path];
    });
    const mounts = FOLDERS.map((path) => `mount -t tmpfs -o mode=755 tmpfs ${path}`).join(" && ");
    const holder = new Background();
    let output = "";
    const script = `mount --make-rprivate / && ${mounts} && echo ${READY} && exec sleep infinity`;
    const child = holder.start(
      inside(netns, "unshare", "--mount", "sh", "-euc", script),
      (text) => {
        output += text;
      },
    );
    await until(
      () => `${name}: ${output}`,
      () => output.includes(READY),
    );
    return new Box(name, child.pid ?? 0, holder, made);
  }

  /** A command line that runs `command` on the box. */
  command(...command: string[]): string[] {
    return [
      "nsenter",
      "--mount",
      "--net",
      "--target",
      String(this.#pid),
      `--wd=${ROOT}`,
      ...command,
    ];
  }

  /** Starts an agent by the page's command, and waits until it is ready. */
  async start(command: string): Promise<void> {
    this.log = "";
    this.#programs.start(this.command("sh", "-euc", `exec ${command}`), (text) => {
      this.log += text;
    });
    await until(
      () => `the agent of ${this.name} is ready\n${this.log}`,
      () => this.log.includes(AGENT_READY),
    );
  }

  /** Ends the programs that `start` started, as Ctrl-C does. */
  stopPrograms(): Promise<void> {
    return this.#programs.stopAll("SIGINT");
  }

  /** Ends all programs on the box. */
  async destroy(): Promise<void> {
    this.shell.close();
    await this.stopPrograms();
    await tryRun(this.command(`${ROOT}bin/l2tp-agent`, "--teardown"));
    await this.#holder.stopAll();
    // Only the folders that the box created.
    for (const path of [...this.#made].reverse()) removeEmpty(path);
  }
}

function removeEmpty(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // Another box uses the folder, or another program wrote to it.
  }
}

/** Several boxes: the first has a wire to each of the others. */
export class Boxes {
  readonly #net: TestNet;
  readonly #boxes: ReadonlyMap<string, Box>;

  private constructor(net: TestNet, boxes: ReadonlyMap<string, Box>) {
    this.#net = net;
    this.#boxes = boxes;
  }

  /** @param addresses the key is the box's name */
  static async create(addresses: Readonly<Record<string, string>>): Promise<Boxes> {
    const net = await TestNet.create();
    const boxes = new Map<string, Box>();
    const [first, ...others] = Object.entries(addresses);
    if (first === undefined) throw new Error("no box");
    const center: [string, string] = [nameOf(await net.addPod(first[0])), first[1]];
    boxes.set(first[0], await Box.create(first[0], center[0]));
    for (const [name, address] of others) {
      const netns = nameOf(await net.addPod(name));
      await wire(center, [netns, address]);
      boxes.set(name, await Box.create(name, netns));
    }
    return new Boxes(net, boxes);
  }

  at(name: string): Box {
    const box = this.#boxes.get(name);
    if (box === undefined) throw new Error(`no box ${name}`);
    return box;
  }

  /** Runs a page's blocks, each on its box. @returns their output */
  async run(page: RunPage): Promise<string> {
    const outputs: string[] = [];
    for (const block of runnableBlocks(page)) {
      const [name = "", what] = block.words;
      const box = this.at(name);
      if (what === "background") {
        await box.start(block.text);
        continue;
      }
      if (what === "stopped") await box.stopPrograms();
      outputs.push(await box.shell.run(block));
    }
    return outputs.join("");
  }

  get log(): string {
    return [...this.#boxes.values()].map(({ name, log }) => `${name}:\n${log}`).join("\n");
  }

  async destroy(): Promise<void> {
    for (const box of this.#boxes.values()) await box.destroy();
    await this.#net.remove();
  }
}

type End = readonly [netns: string, address: string];

/** A wire between two network namespaces, with an address of each and a route to the other. */
async function wire([a, addressOfA]: End, [b, addressOfB]: End): Promise<void> {
  const device = `w${addressOfB.split(".").at(-1)}`;
  const peer = ["peer", "name", device, "netns", b];
  await run(["ip", "link", "add", device, "netns", a, "type", "veth", ...peer]);
  for (const [netns, mine, other] of [
    [a, addressOfA, addressOfB],
    [b, addressOfB, addressOfA],
  ] as const) {
    await run(["ip", "-n", netns, "address", "replace", `${mine}/32`, "dev", "lo"]);
    await run(["ip", "-n", netns, "link", "set", device, "up"]);
    await run(["ip", "-n", netns, "route", "add", other, "dev", device, "src", mine]);
  }
}
