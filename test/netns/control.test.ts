/** Managed tunnels between two datapath processes. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Change } from "../../datapath/datapath.ts";
import type { Encapsulation, Session, SessionControl, Tunnel } from "../../model/model.ts";
import { type ControlChange, sessionControl, tunnelControl } from "../../model/testdata.ts";
import { TestDatapath } from "../harness/datapath.ts";
import { type Host, ip, ping, TestNet } from "../harness/net.ts";
import { until } from "../harness/wait.ts";

const KEY = "shop/lan";
let net: TestNet;
let ends: [TestDatapath, TestDatapath];

beforeEach(async () => {
  net = await TestNet.create();
  ends = [new TestDatapath(net.a), new TestDatapath(net.b)];
  for (const end of ends) await end.start();
});

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(...ends.map(({ log }) => log));
  for (const end of ends) await end.destroy();
  await net.remove();
});

interface Shape {
  readonly encapsulation?: Encapsulation;
  readonly family?: "ipv4" | "ipv6";
  readonly control?: ControlChange;
  readonly session?: Partial<Session>;
  readonly sessionControl?: Partial<SessionControl>;
}

function tunnelOf(
  local: Host,
  remote: Host,
  { encapsulation = "UDP", family = "ipv4", control }: Shape,
): Tunnel {
  const port = encapsulation === "UDP" ? 1701 : 0;
  return {
    name: "branch",
    datapath: "Userspace",
    tunnelId: 1,
    peerTunnelId: 1,
    encapsulation,
    local: { address: local[family], port },
    remote: { address: remote[family], port },
    udpChecksum: true,
    fastPath: false,
    control: tunnelControl(control),
  };
}

function changes(local: Host, remote: Host, shape: Shape): Change[] {
  const session: Session = {
    key: KEY,
    tunnel: "branch",
    // The configured ID is a local name; a negotiated ID is used on the wire.
    sessionId: 77,
    peerSessionId: 0,
    l2SpecificSublayer: "None",
    rxCookie: "",
    txCookie: "",
    sequencing: { send: false, receive: false, reorderTimeoutMs: 0 },
    mtu: 1400,
    control: sessionControl(shape.sessionControl),
    ...shape.session,
  };
  return [
    { op: "putTunnel", tunnel: tunnelOf(local, remote, shape) },
    { op: "putSession", session, device: { netns: null, name: "tap0" } },
  ];
}

/** Programs both ends; the second one waits for the first. */
async function configure(mine: Shape, theirs: Shape = {}): Promise<void> {
  const waits = { ...mine, ...theirs };
  const control = { ...mine.control, initiates: false, ...theirs.control };
  const call = { ...mine.sessionControl, places: null, ...theirs.sessionControl };
  await ends[1].apply(...changes(net.b, net.a, { ...waits, control, sessionControl: call }));
  await ends[0].apply(...changes(net.a, net.b, mine));
  for (const [index, { name }] of [net.a, net.b].entries()) {
    await ip(name, "addr", "replace", `10.1.0.${index + 1}/24`, "dev", "tap0");
    await ip(name, "link", "set", "tap0", "up");
  }
}

async function tunnel(end: TestDatapath) {
  const { tunnels } = await end.list();
  const [state] = tunnels;
  if (state?.control === undefined) throw new Error("no control connection");
  return state.control;
}

async function session(end: TestDatapath) {
  const { sessions } = await end.list();
  const [state] = sessions;
  if (state?.control === undefined) throw new Error("no session");
  return state.control;
}

async function hasCarrier({ name }: Host): Promise<boolean> {
  const [link] = JSON.parse(await ip(name, "-j", "link", "show", "tap0")) as [{ flags: string[] }];
  return !link.flags.includes("NO-CARRIER");
}

const crosses = () => until("frames cross", () => ping(net.a.name, "10.1.0.2"));

describe("a managed tunnel", () => {
  it.each<[string, Shape]>([
    ["over UDP", {}],
    ["over UDP and IPv6", { family: "ipv6" }],
    ["over IP", { encapsulation: "IP" }],
    ["over IP and IPv6", { encapsulation: "IP", family: "ipv6" }],
    [
      "authenticated, with hidden values",
      { control: { secrets: ["733363726574"], hidesValues: true } },
    ],
    [
      "with SHA-1, sublayer and sequence numbers",
      {
        control: { secrets: ["733363726574"], digest: "sha1" },
        session: { sequencing: { send: false, receive: true, reorderTimeoutMs: 0 } },
      },
    ],
    ["by an outgoing call", { sessionControl: { places: "OCRQ" } }],
  ])("%s: is set up without configured IDs and cookies, and forwards frames", async (_, shape) => {
    await configure(shape);
    await crosses();
    const [one, other] = [await session(ends[0]), await session(ends[1])];
    expect(one.phase).toBe("established");
    expect(one.established?.peerSessionId).toBe(other.established?.sessionId);
    expect(one.established?.rxCookie).toBe(other.established?.txCookie);
    expect(one.established?.rxCookie).toHaveLength(16);
    expect(one.established?.sequencing.receive).toBe(other.established?.sequencing.send);
    const { sessions } = await ends[0].list();
    expect(sessions[0]).toMatchObject({ session: { sessionId: 77 }, receiving: true });
    expect(sessions[0]?.counters).toMatchObject({ rxErrors: 0, rxCookieDiscards: 0 });
    expect(await tunnel(ends[0])).toMatchObject({ state: "established", peerHostName: "node" });
  });

  it("has one connection if both ends initiate", async () => {
    await configure({}, { control: { initiates: true }, sessionControl: { places: "ICRQ" } });
    await crosses();
    const [one, other] = [await tunnel(ends[0]), await tunnel(ends[1])];
    expect(one.localConnectionId).toBe(other.peerConnectionId);
  });

  it("has no carrier before the session is established, and none after it ends", async () => {
    await ends[0].apply(...changes(net.a, net.b, {}));
    await ip(net.a.name, "link", "set", "tap0", "up");
    expect(await hasCarrier(net.a)).toBe(false);
    await configure({});
    await crosses();
    expect(await hasCarrier(net.a)).toBe(true);
    await ends[1].apply({ op: "deleteSession", key: KEY });
    await until("the carrier is down", async () => !(await hasCarrier(net.a)));
    expect((await session(ends[0])).lastEnding).toMatchObject({ by: "peer", result: 3 });
  });

  it("sets the carrier by the peer's circuit status", async () => {
    await configure({});
    await crosses();
    const [, put] = changes(net.b, net.a, {
      control: { initiates: false },
      sessionControl: { places: null, circuit: { active: false, standby: false } },
    }) as [Change, Extract<Change, { op: "putSession" }>];
    await ends[1].apply({ ...put, device: "keep" });
    await until("the carrier is down", async () => !(await hasCarrier(net.a)));
    expect((await session(ends[0])).phase).toBe("established");
    const control = { ...put.session.control, circuit: { active: true, standby: false } };
    const active = { ...put.session, control: control as SessionControl };
    await ends[1].apply({ op: "putSession", session: active, device: "keep" });
    await until("the carrier is up", () => hasCarrier(net.a));
    await crosses();
  });

  it("goes down when the peer crashes, and reconnects when the peer is back", async () => {
    await configure({});
    await crosses();
    await ends[1].kill();
    await until(
      "the peer is detected as down",
      async () => (await tunnel(ends[0])).state !== "established",
    );
    const { lastEnding, heardMsAgo } = await tunnel(ends[0]);
    expect(lastEnding?.why).toMatch(/no message received|does not acknowledge/);
    expect(heardMsAgo).toBeNull();
    await until("the carrier is down", async () => !(await hasCarrier(net.a)));
    await ends[1].start();
    await configure({});
    await crosses();
  });

  it("reconnects with a restarted peer", async () => {
    await configure({}, { control: { initiates: true } });
    await crosses();
    const before = (await tunnel(ends[0])).peerConnectionId;
    await ends[1].kill();
    await ends[1].start();
    await configure({}, { control: { initiates: true } });
    await crosses();
    expect((await tunnel(ends[0])).peerConnectionId).not.toBe(before);
  });

  it("notifies the peer when the process shuts down", async () => {
    await configure({ control: { helloMs: 60_000, deadAfterMs: null } });
    await crosses();
    await ends[1].shutdown();
    await until(
      "the peer is notified",
      async () => (await tunnel(ends[0])).state !== "established",
    );
    expect((await tunnel(ends[0])).lastEnding).toMatchObject({ by: "peer" });
  });

  it("is rejected with a different secret, and reports that", async () => {
    await configure({ control: { secrets: ["61"] } }, { control: { secrets: ["62"] } });
    const { tunnels } = await ends[1].list();
    expect(tunnels).toHaveLength(1);
    await until("the connection is retried", async () => (await tunnel(ends[0])).retransmitted > 1);
    expect((await tunnel(ends[1])).state).toBe("idle");
    expect((await session(ends[0])).phase).toBe("idle");
  });

  it("reports why the peer rejects a session", async () => {
    await configure({}, { sessionControl: { remoteEndId: "other" } });
    await until(
      "the session is rejected",
      async () => (await session(ends[0])).lastEnding !== null,
    );
    expect((await session(ends[0])).lastEnding?.why).toBe(
      'no facilities (no session with the Remote End ID "lan")',
    );
  });
});

describe("a quiescent tunnel", () => {
  const QUIESCENT = { mode: "Quiescent" } as const;

  it("sends HELLO, and negotiates nothing", async () => {
    await configure({ control: QUIESCENT });
    for (const end of ends) {
      await until(
        "the tunnel is established",
        async () => (await tunnel(end)).state === "established",
      );
    }
    await ends[1].kill();
    await until(
      "the peer is detected as down",
      async () => (await tunnel(ends[0])).state !== "established",
    );
    await ends[1].start();
    await configure({ control: QUIESCENT });
    await until(
      "the tunnel is established again",
      async () => (await tunnel(ends[0])).state === "established",
    );
  });
});
