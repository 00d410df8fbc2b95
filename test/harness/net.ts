/** Network namespaces that serve as hosts and pods. */
import { readdirSync, statSync } from "node:fs";
import { pingReturns } from "./ping-returns.ts";
import { Background, run, tryRun } from "./run.ts";

let count = 0;

export interface Host {
  readonly name: string;
  /** The path of the host's namespace. */
  readonly netns: string;
  readonly ipv4: string;
  readonly ipv6: string;
  /** The name of the host's underlay device. */
  readonly device: string;
}

/** Two hosts on one wire, and any number of pods. `remove` deletes everything. */
export class TestNet {
  readonly a: Host;
  readonly b: Host;
  readonly #prefix = `${prefixOf(process.pid)}${count++}`;
  readonly #names: string[] = [];

  private constructor(aIsInitial: boolean) {
    this.a = host(aIsInitial ? INITIAL : `${this.#prefix}-a`, "1");
    this.b = host(`${this.#prefix}-b`, "2");
  }

  /** @param aIsInitial host a is the initial namespace, to which the kernel moves devices of deleted namespaces */
  static async create({ mtu = 1500, aIsInitial = false } = {}): Promise<TestNet> {
    const net = new TestNet(aIsInitial);
    const { a, b } = net;
    if (aIsInitial) await nameInitial();
    else await net.#addNamespace(a.name);
    await net.#addNamespace(b.name);
    const peer = ["peer", "name", b.device, "netns", b.name, "mtu", String(mtu)];
    const veth = ["mtu", String(mtu), "type", "veth", ...peer];
    await run(["ip", "link", "add", a.device, "netns", a.name, ...veth]);
    for (const { name, device, ipv4, ipv6 } of [a, b]) {
      await ip(name, "addr", "add", `${ipv4}/24`, "dev", device);
      await ip(name, "addr", "add", `${ipv6}/64`, "dev", device, "nodad");
      await ip(name, "link", "set", device, "up");
    }
    return net;
  }

  /** Adds a third host with a wire to host a, by which it reaches a's addresses. */
  async addHost(): Promise<Host> {
    const added: Host = {
      ...host(`${this.#prefix}-c`, "3"),
      ipv4: "198.51.100.3",
      ipv6: "2001:db8:3::3",
    };
    const { a } = this;
    await this.#addNamespace(added.name);
    const peer = ["peer", "name", added.device, "netns", added.name];
    await run(["ip", "link", "add", added.device, "netns", a.name, "type", "veth", ...peer]);
    for (const [name, number] of [
      [a.name, "1"],
      [added.name, "3"],
    ] as const) {
      await ip(name, "addr", "add", `198.51.100.${number}/24`, "dev", added.device);
      await ip(name, "addr", "add", `2001:db8:3::${number}/64`, "dev", added.device, "nodad");
      await ip(name, "link", "set", added.device, "up");
    }
    await ip(added.name, "route", "add", "default", "via", "198.51.100.1");
    await ip(added.name, "route", "add", "default", "via", "2001:db8:3::1");
    return added;
  }

  /** Creates an empty namespace for a pod. Returns its path. */
  async addPod(name: string): Promise<string> {
    const full = `${this.#prefix}-${name}`;
    await this.#addNamespace(full);
    return netnsPath(full);
  }

  async removePod(netns: string): Promise<void> {
    await tryRun(["ip", "netns", "del", nameOf(netns)]);
  }

  async remove(): Promise<void> {
    for (const name of this.#names) await tryRun(["ip", "netns", "del", name]);
  }

  async #addNamespace(name: string): Promise<void> {
    await run(["ip", "netns", "add", name]);
    this.#names.push(name);
    await ip(name, "link", "set", "lo", "up");
  }
}

const NAMESPACES = "/run/netns";
const prefixOf = (pid: number): string => `lt${pid}x`;

/** Names of the remaining namespaces of a process's TestNets. */
export function namespacesOf(pid: number): string[] {
  const all = exists(NAMESPACES) ? readdirSync(NAMESPACES) : [];
  return all.filter((name) => name.startsWith(prefixOf(pid)));
}

const INITIAL = "initial";

/** Mounts the initial namespace under a name. */
async function nameInitial(): Promise<void> {
  if (exists(netnsPath(INITIAL))) return;
  await run(["ip", "netns", "attach", INITIAL, "1"]);
}

function host(name: string, number: string): Host {
  return {
    name,
    netns: netnsPath(name),
    ipv4: `192.0.2.${number}`,
    ipv6: `2001:db8::${number}`,
    device: `wire${number}`,
  };
}

const netnsPath = (name: string): string => `${NAMESPACES}/${name}`;

export function nameOf(netns: string): string {
  return netns.split("/").at(-1) ?? "";
}

/** Runs ip(8) in a namespace, by its name or path. */
export function ip(namespace: string, ...args: string[]): Promise<string> {
  return run(["ip", "-n", nameOf(namespace), ...args]);
}

export interface IpLink {
  readonly ifname: string;
  readonly ifindex: number;
  readonly mtu: number;
  readonly address: string;
  readonly flags: readonly string[];
  readonly ifalias?: string;
  readonly master?: string;
  /** "ether", "none". */
  readonly link_type?: string;
  readonly addr_info?: readonly { readonly local: string; readonly prefixlen: number }[];
}

/** `ip -j addr` of one link; undefined if it does not exist. */
export async function link(namespace: string, name: string): Promise<IpLink | undefined> {
  const links = await linksOf(namespace);
  return links.find(({ ifname }) => ifname === name);
}

export async function linksOf(namespace: string): Promise<IpLink[]> {
  return JSON.parse(await ip(namespace, "-j", "addr", "show")) as IpLink[];
}

/** A command line that runs `command` in a namespace. */
export function inside(namespace: string, ...command: string[]): string[] {
  return ["ip", "netns", "exec", nameOf(namespace), ...command];
}

/** Seconds in which several pings must be answered, on a busy machine. */
const PING_SECONDS = 60;
/** Without any reply by then, no reply is expected. */
const SILENCE_MS = 5000;

/** True if all `count` pings are answered. @param size of the ICMP payload */
export async function ping(
  namespace: string,
  address: string,
  { count: pings = 1, size = 56, args = [] as string[] } = {},
): Promise<boolean> {
  const options = ["-c", String(pings), "-i", "0.02", "-s", String(size)];
  const one = [...options, "-q", "-W", "2", ...args];
  if (pings === 1) return (await tryRun(inside(namespace, "ping", ...one, address))).status === 0;
  // Without a deadline, ping(8) waits for the last reply twice as long as the slowest reply took: too short on
  // a busy machine. With a deadline, it sends until `count` replies arrive.
  const many = [...options, "-D", "-w", String(PING_SECONDS), ...args];
  const background = new Background();
  let output = "";
  const child = background.start(inside(namespace, "ping", ...many, address), (text) => {
    output += text;
  });
  const isSilent = () => pingReturns(output).length === 0;
  const timer = setTimeout(() => isSilent() && child.kill("SIGKILL"), SILENCE_MS);
  await new Promise((resolve) => child.once("close", resolve));
  clearTimeout(timer);
  // Frames keep their order: a later reply takes the place of a lost one.
  const returned = new Set(pingReturns(output).map(({ sequence }) => sequence));
  return Array.from({ length: pings }, (_, index) => index + 1).every((sequence) =>
    returned.has(sequence),
  );
}

export function exists(path: string): boolean {
  try {
    statSync(path);
    return true;
  } catch {
    return false;
  }
}
