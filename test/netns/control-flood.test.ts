/** Managed tunnels while somebody sends control messages in the peer's name: real sockets, real frames. */
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Change } from "../../datapath/datapath.ts";
import type { Encapsulation, TunnelControl } from "../../l2tp/model.ts";
import { session, tunnel } from "../../l2tp/testdata.ts";
import type { Flood, FloodOptions } from "../harness/control-flood.ts";
import { sessionControl, TestDatapath, tunnelControl } from "../harness/datapath.ts";
import { type Host, inside, ip, ping, TestNet } from "../harness/net.ts";
import { Background } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

const PROGRAM = fileURLToPath(new URL("../harness/control-flood.ts", import.meta.url));
const PER_SECOND = 20_000;
/** No test takes longer. */
const SECONDS = 55;

interface Wire {
  readonly encapsulation: Encapsulation;
  readonly family: "ipv4" | "ipv6";
}

let net: TestNet;
let ends: TestDatapath[];
let floods: Background;

beforeEach(async () => {
  net = await TestNet.create();
  ends = [new TestDatapath(net.a), new TestDatapath(net.b)];
  floods = new Background();
  for (const end of ends) await end.start();
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(...ends.map(({ log }) => log));
  await floods.stopAll();
  for (const end of ends) await end.destroy();
  await net.remove();
});

const portOf = ({ encapsulation }: Wire) => (encapsulation === "UDP" ? 1701 : 0);

function changes(
  name: string,
  wire: Wire,
  [local, remote]: readonly [Host, Host],
  control: Partial<TunnelControl>,
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
        ...{ key: `shop/${name}`, tunnel: name, l2SpecificSublayer: "None" },
        control: sessionControl({ places: control.initiates === false ? null : "ICRQ" }),
      }),
      device: { netns: null, name: `tap-${name}` },
    },
  ];
}

/** One end, with its address behind the tunnel. */
async function put(
  end: TestDatapath,
  wire: Wire,
  remote: Host,
  control: Partial<TunnelControl> = {},
): Promise<void> {
  await end.apply(...changes("branch", wire, [end.host, remote], control));
  const { name } = end.host;
  const address = `10.1.0.${name === net.a.name ? 1 : 2}/24`;
  await ip(name, "addr", "replace", address, "dev", "tap-branch");
  await ip(name, "link", "set", "tap-branch", "up");
}

async function controlOf(end: TestDatapath, name = "branch") {
  const { tunnels } = await end.list();
  const state = tunnels.find((each) => each.tunnel.name === name);
  if (state?.control === undefined) throw new Error("no control connection");
  return { ...state.control, endpoint: state.endpoint };
}

const established = (end: TestDatapath, name?: string) =>
  until(`${name ?? "branch"} is established`, async () => {
    const control = await controlOf(end, name);
    return control.state === "established" ? control : undefined;
  });

const crosses = () => until("frames cross", () => ping(net.a.name, "10.1.0.2"));

/** Begins one to host a in the name of host b, and waits until bursts are spent. */
async function flood(wire: Wire, what: Partial<FloodOptions> & { flood: Flood }): Promise<void> {
  const options: FloodOptions = {
    ...{ encapsulation: wire.encapsulation, perSecond: PER_SECOND, seconds: SECONDS },
    from: { address: net.b[wire.family], port: portOf(wire) },
    to: { address: net.a[wire.family], port: portOf(wire) },
    ...{ connectionId: 1, ns: 0, hostName: "node", ...what },
  };
  const [end] = ends as [TestDatapath];
  const before = (await controlOf(end)).dropped;
  let said = "";
  const command = [process.execPath, "--disable-warning=ExperimentalWarning", PROGRAM];
  floods.start(inside(net.b.name, ...command, JSON.stringify(options)), (text) => {
    said += text;
  });
  await until(`messages are dropped: ${said}`, async () => {
    return (await controlOf(end)).dropped - before > PER_SECOND;
  });
}

const WIRES: readonly Wire[] = [
  { encapsulation: "UDP", family: "ipv4" },
  { encapsulation: "UDP", family: "ipv6" },
  { encapsulation: "IP", family: "ipv4" },
  { encapsulation: "IP", family: "ipv6" },
];
const [UDP] = WIRES as [Wire];
const FLOODS: readonly Flood[] = ["requests", "imitations", "one request", "next numbers"];
const SIGNED = { secrets: ["733363726574"] };
const WAITS = { initiates: false };

/** Both ends, the first of which waits for the second. */
async function join(wire: Wire, control: Partial<TunnelControl> = {}) {
  const [a, b] = ends as [TestDatapath, TestDatapath];
  await put(b, wire, net.a, control);
  await put(a, wire, net.b, { ...WAITS, ...control });
  await crosses();
  return { a, b, before: await established(a) };
}

/** Kills the second end's process, and starts it again. */
async function comeBack(
  { a, b, before }: Awaited<ReturnType<typeof join>>,
  wire: Wire,
  control: Partial<TunnelControl> = {},
): Promise<void> {
  await b.kill();
  await b.start();
  await put(b, wire, net.a, control);
  await until("a new connection is established", async () => {
    const { state, localConnectionId } = await controlOf(a);
    return state === "established" && localConnectionId !== before.localConnectionId;
  });
  await crosses();
}

describe("20,000 control messages a second in the peer's name", () => {
  it.each(WIRES)(
    "cost an established connection over $encapsulation and $family nothing",
    async (wire) => {
      const joined = await join(wire, SIGNED);
      const { a, b, before } = joined;
      const { localConnectionId: connectionId, received: ns } = before;
      await flood(wire, { flood: "all", connectionId, ns });
      // For more than twice deadAfter.
      await until("HELLOs are exchanged", async () => {
        const { sent, received } = await controlOf(a);
        return sent + received - before.sent - before.received > 6;
      });
      await crosses();
      const after = await controlOf(a);
      expect(after).toMatchObject({ state: "established", localConnectionId: connectionId });
      expect(await controlOf(b)).toMatchObject({ peerConnectionId: connectionId });
      expect(after.endpoint).toMatchObject({ rxControlDropped: after.dropped, rxControl: 0 });
      await comeBack(joined, wire, SIGNED);
      // The peer's first request was heard, or its second.
      expect((await controlOf(b)).retransmitted).toBeLessThanOrEqual(2);
    },
  );

  it.each(FLOODS)("(%s) do not keep a peer from coming back", async (kind) => {
    const joined = await join(UDP, SIGNED);
    const { localConnectionId: connectionId, received: ns } = joined.before;
    await flood(UDP, { flood: kind, connectionId, ns });
    await comeBack(joined, UDP, SIGNED);
    expect((await controlOf(joined.b)).retransmitted).toBeLessThanOrEqual(2);
  });

  it.each<[string, boolean]>([
    ["to a peer that begins", false],
    ["to a peer that waits", true],
  ])("do not keep a first connection from being established %s", async (_, initiates) => {
    const [a, b] = ends as [TestDatapath, TestDatapath];
    await put(a, UDP, net.b, { initiates });
    await flood(UDP, { flood: "imitations" });
    await put(b, UDP, net.a, { initiates: !initiates });
    await established(b);
    await crosses();
    expect((await controlOf(b)).retransmitted).toBeLessThanOrEqual(2);
  });

  it("do not delay another tunnel", async () => {
    const c = new TestDatapath(await net.addHost());
    ends.push(c);
    await c.start();
    const [a] = ends as [TestDatapath];
    await put(a, UDP, net.b, WAITS);
    await flood(UDP, { flood: "all" });
    const other = (local: Host, remote: Host, control: Partial<TunnelControl>) =>
      changes("other", UDP, [local, remote], control);
    // Host c reaches host a by the address that a has on the first wire.
    await a.apply(...other(net.a, c.host, WAITS));
    await c.apply(...other(c.host, net.a, {}));
    const { retransmitted } = await established(c, "other");
    await established(a, "other");
    expect(retransmitted).toBe(0);
    expect((await controlOf(a, "other")).dropped).toBe(0);
  });
});
