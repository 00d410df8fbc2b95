/**
 * A managed tunnel between two datapath processes, and floods of control messages with the address of
 * one of them.
 */
import { fileURLToPath } from "node:url";
import type { Change } from "../../datapath/datapath.ts";
import type { Encapsulation } from "../../model/model.ts";
import {
  type ControlChange,
  session,
  sessionControl,
  tunnel,
  tunnelControl,
} from "../../model/testdata.ts";
import type { Flood, FloodOptions } from "./control-flood.ts";
import { TestDatapath } from "./datapath.ts";
import { type Host, inside, ip, ping, TestNet } from "./net.ts";
import { Background, stop } from "./run.ts";
import { until } from "./wait.ts";

const FLOOD = fileURLToPath(new URL("control-flood.ts", import.meta.url));
export const FLOOD_PER_SECOND = 20_000;
/** The agent's default retransmission intervals. Those of tests are shorter. */
export const DEFAULT_PAUSES = { retransmitMs: 1000, retransmitCapMs: 8000 };
/** Longer than any test. */
const FLOOD_SECONDS = 55;
const TUNNEL = "branch";
/** Fits the underlay with any header. */
const MTU = 1400;

export interface Wire {
  readonly encapsulation: Encapsulation;
  readonly family: "ipv4" | "ipv6";
}

export const WIRES: readonly Wire[] = [
  { encapsulation: "UDP", family: "ipv4" },
  { encapsulation: "UDP", family: "ipv6" },
  { encapsulation: "IP", family: "ipv4" },
  { encapsulation: "IP", family: "ipv6" },
];

const portOf = ({ encapsulation }: Wire) => (encapsulation === "UDP" ? 1701 : 0);

/** A tunnel and a session with a device. */
export function managedChanges(
  name: string,
  wire: Wire,
  [local, remote]: readonly [Host, Host],
  control: ControlChange,
): Change[] {
  const at = (host: Host) => ({ address: host[wire.family], port: portOf(wire) });
  return [
    {
      op: "putTunnel",
      tunnel: tunnel({
        ...{ name, encapsulation: wire.encapsulation, local: at(local), remote: at(remote) },
        control: tunnelControl(control),
      }),
    },
    {
      op: "putSession",
      session: session({
        ...{ key: `shop/${name}`, tunnel: name, l2SpecificSublayer: "None", mtu: MTU },
        control: sessionControl({ places: control.initiates === false ? null : "ICRQ" }),
      }),
      device: { netns: null, name: `tap-${name}` },
    },
  ];
}

export async function controlOf(end: TestDatapath, name = TUNNEL) {
  const { tunnels } = await end.list();
  const state = tunnels.find((each) => each.tunnel.name === name);
  if (state?.control === undefined) throw new Error("no control connection");
  return { ...state.control, endpoint: state.endpoint };
}

export function established(end: TestDatapath, name = TUNNEL) {
  return until(`${name} is established`, async () => {
    const control = await controlOf(end, name);
    return control.state === "established" ? control : undefined;
  });
}

/** Floods go to the first end, with the address of the second. */
export class ManagedPair {
  readonly net: TestNet;
  readonly wire: Wire;
  readonly a: TestDatapath;
  readonly b: TestDatapath;
  readonly #control: ControlChange;
  readonly #floods = new Background();

  private constructor(net: TestNet, wire: Wire, control: ControlChange) {
    this.net = net;
    this.wire = wire;
    this.#control = control;
    [this.a, this.b] = [new TestDatapath(net.a), new TestDatapath(net.b)];
  }

  static async create(wire: Wire, control: ControlChange = {}): Promise<ManagedPair> {
    const pair = new ManagedPair(await TestNet.create(), wire, control);
    for (const end of [pair.a, pair.b]) await end.start();
    return pair;
  }

  async destroy(): Promise<void> {
    await this.stopFloods();
    for (const end of [this.a, this.b]) await end.destroy();
    await this.net.remove();
  }

  /** Programs one end, with its address in the tunnel. */
  async put(end: TestDatapath, control: ControlChange = {}): Promise<void> {
    const isFirst = end === this.a;
    const hosts = [end.host, isFirst ? this.net.b : this.net.a] as const;
    const { name } = end.host;
    const change = managedChanges(TUNNEL, this.wire, hosts, { ...this.#control, ...control });
    await end.apply(...change);
    await ip(name, "addr", "replace", `10.1.0.${isFirst ? 1 : 2}/24`, "dev", `tap-${TUNNEL}`);
    await ip(name, "link", "set", `tap-${TUNNEL}`, "mtu", String(MTU), "up");
  }

  /** Programs both ends; the first one waits for the second. @returns the first one's state */
  async join() {
    await this.put(this.b);
    await this.put(this.a, { initiates: false });
    await this.crosses();
    return established(this.a);
  }

  crosses(): Promise<boolean> {
    return until("frames cross", () => ping(this.net.a.name, "10.1.0.2"));
  }

  /** Kills and restarts the second end's process. @returns milliseconds until a new connection is established */
  async comeBack(): Promise<number> {
    const { localConnectionId: before } = await controlOf(this.a);
    await this.b.kill();
    const began = performance.now();
    await this.b.start();
    await this.put(this.b);
    await until("a new connection is established", async () => {
      const { state, localConnectionId } = await controlOf(this.a);
      return state === "established" && localConnectionId !== before;
    });
    const took = performance.now() - began;
    await this.crosses();
    return took;
  }

  /** Starts a flood. @returns a function that ends the flood */
  async flood(flood: Flood, change: Partial<FloodOptions> = {}): Promise<() => Promise<void>> {
    const { wire, net } = this;
    const options: FloodOptions = {
      ...{ flood, encapsulation: wire.encapsulation },
      ...{ perSecond: FLOOD_PER_SECOND, seconds: FLOOD_SECONDS },
      from: { address: net.b[wire.family], port: portOf(wire) },
      to: { address: net.a[wire.family], port: portOf(wire) },
      ...{ connectionId: 1, ns: 0, hostName: "node", ...change },
    };
    let said = "";
    const command = [process.execPath, "--disable-warning=ExperimentalWarning", FLOOD];
    const child = this.#floods.start(
      inside(net.b.name, ...command, JSON.stringify(options)),
      (text) => {
        said += text;
      },
    );
    await until(`the flood starts: ${said}`, () => said.includes("flooding"));
    return () => stop(child);
  }

  /** Starts a flood, and waits until the budgets' bursts are spent. */
  async floodFully(flood: Flood, change: Partial<FloodOptions> = {}): Promise<void> {
    const before = (await controlOf(this.a)).dropped;
    await this.flood(flood, change);
    await until("messages are dropped", async () => {
      return (await controlOf(this.a)).dropped - before > FLOOD_PER_SECOND;
    });
  }

  stopFloods(): Promise<void> {
    return this.#floods.stopAll();
  }
}
