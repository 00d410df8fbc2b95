/** Control connections: set-up rate, cost, and time to fail over from a dead peer. */
import type { Change } from "../../datapath/datapath.ts";
import type { Endpoint, Session, Tunnel } from "../../model/model.ts";
import {
  session as plainSession,
  tunnel as plainTunnel,
  sessionControl,
  tunnelControl,
} from "../../model/testdata.ts";
import { TestDatapath } from "../harness/datapath.ts";
import { type Host, inside, ip, TestNet } from "../harness/net.ts";
import { pingReturns } from "../harness/ping-returns.ts";
import { Background } from "../harness/run.ts";
import { until } from "../harness/wait.ts";
import { processorSeconds, processorShare, residentMebibytes } from "./processes.ts";
import { median, type Report } from "./report.ts";

const MANY = 1000;
const FEW = 100;
const HELLO_MS = 10_000;
const WATCHED_SECONDS = 20;
/** The prefix of the peers' addresses, all on one host. */
const PEERS = "10.9";

export async function benchManaged(net: TestNet, report: Report): Promise<void> {
  await report.attempt(`${MANY} tunnels`, () => benchMany(net, report));
  await report.attempt("a dead peer", () => benchFailover(report));
}

const port = 1701;
const peer = (index: number): Endpoint => ({
  address: `${PEERS}.${index >> 8}.${index & 255}`,
  port,
});

/** The changes that program a hub with `count` peers, or all of its peers, which wait for the hub. */
function changes(hub: Host, count: number, isHub: boolean, isManaged: boolean): Change[] {
  return Array.from({ length: count }, (_, number) => number + 1).flatMap((index): Change[] => {
    const [local, remote] = [{ address: hub.ipv4, port }, peer(index)];
    const control = tunnelControl({
      initiates: isHub,
      helloMs: HELLO_MS,
      deadAfterMs: null,
      retransmitMs: 1000,
      retransmitCapMs: 8000,
    });
    const tunnel: Tunnel = {
      ...plainTunnel({ name: `t${index}`, tunnelId: index, peerTunnelId: index }),
      ...(isHub ? { local, remote } : { local: remote, remote: local }),
      ...(isManaged ? { control } : {}),
    };
    const session: Session = {
      ...plainSession({ key: `bench/s${index}`, tunnel: tunnel.name }),
      ...{ sessionId: index, peerSessionId: index },
      ...(isManaged ? { control: sessionControl({ places: isHub ? "ICRQ" : null }) } : {}),
    };
    return [
      { op: "putTunnel", tunnel },
      { op: "putSession", session, device: null },
    ];
  });
}

async function benchMany({ a, b }: TestNet, report: Report): Promise<void> {
  await ip(b.name, "route", "add", "local", `${PEERS}.0.0/16`, "dev", "lo");
  await ip(a.name, "route", "add", `${PEERS}.0.0/16`, "via", b.ipv4);
  const few = await setUp(a, b, FEW, true);
  await few.end();
  const many = await setUp(a, b, MANY, true);
  report.add(
    `${MANY} managed tunnels set up`,
    `${FEW}`,
    [[MANY / many.seconds], [FEW / few.seconds]],
    {},
    "tunnels with a session each, per second",
  );
  report.addRatio(
    `one of ${MANY} managed tunnels set up`,
    "a millisecond of a processor",
    (many.processorSeconds / MANY) * 1000,
    {},
    `${(many.processorSeconds / MANY) * 1000} ms`,
  );
  const share = await processorShare([many.pid], WATCHED_SECONDS);
  report.addRatio(
    `${MANY} managed tunnels, HELLO each ${HELLO_MS / 1000} s`,
    "a processor",
    share,
    {},
    `${(share * 100).toFixed(2)} % of one`,
  );
  const managed = residentMebibytes([many.pid]);
  await many.end();
  const fixed = await setUp(a, b, MANY, false);
  const others = residentMebibytes([fixed.pid]);
  await fixed.end();
  report.add(`memory with ${MANY} managed tunnels`, "static", [[managed], [others]], {}, "MiB");
}

/** Sets up a hub with its peers, and waits until all sessions are established. */
async function setUp(a: Host, b: Host, count: number, isManaged: boolean) {
  const [hub, peers] = [new TestDatapath(a), new TestDatapath(b)];
  for (const each of [hub, peers]) await each.start();
  await peers.apply(...changes(a, count, false, isManaged));
  const pid = await hub.pid();
  const [before, began] = [processorSeconds([pid]), performance.now()];
  await hub.apply(...changes(a, count, true, isManaged));
  await until(
    `${count} sessions are established`,
    async () => {
      const { sessions } = await hub.list();
      return sessions.every(({ control }) => !isManaged || control?.phase === "established");
    },
    120_000,
  );
  return {
    pid,
    seconds: (performance.now() - began) / 1000,
    processorSeconds: processorSeconds([pid]) - before,
    end: async () => {
      for (const each of [hub, peers]) await each.destroy();
    },
  };
}

const RUNS = Number(process.env.BENCH_RUNS ?? 5);
const BOUND_MS = 2000;
const PING_SECONDS = 0.01;

async function benchFailover(report: Report): Promise<void> {
  const missed: number[] = [];
  const paused: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    const net = await TestNet.create();
    try {
      const times = await failOver(net);
      missed.push(times.missedMs);
      paused.push(times.pausedMs);
    } finally {
      await net.remove();
    }
  }
  const bound = `its bound of ${BOUND_MS / 1000} s`;
  const figures = (values: readonly number[]) =>
    `${Math.round(median(values))} ms, ${Math.round(Math.max(...values))} at most in ${RUNS} runs`;
  report.addRatio(
    "a dead peer is missed",
    bound,
    Math.max(...missed) / BOUND_MS,
    { most: 1.05 },
    figures(missed),
  );
  report.addRatio(
    "a dead peer's pings come back by the backup",
    bound,
    Math.max(...paused) / BOUND_MS,
    { most: 1.05 },
    figures(paused),
  );
}

async function failOver(net: TestNet): Promise<{ missedMs: number; pausedMs: number }> {
  const third = await net.addHost();
  const hosts = [net.a, net.b, third] as const;
  const ends = hosts.map((host) => new TestDatapath(host));
  const [spoke, primary] = ends as [TestDatapath, TestDatapath];
  const pinging = new Background();
  try {
    for (const [index, end] of ends.entries()) {
      const { name, ipv4 } = end.host;
      const isSpoke = index === 0;
      await end.start();
      await end.apply(
        {
          op: "putTunnel",
          tunnel: {
            ...plainTunnel({ name: "hub" }),
            local: { address: ipv4, port },
            remote: { address: (isSpoke ? net.b : net.a).ipv4, port },
            control: tunnelControl({
              initiates: isSpoke,
              helloMs: BOUND_MS / 2,
              deadAfterMs: BOUND_MS,
              backups: isSpoke ? [{ address: third.ipv4, port }] : [],
            }),
          },
        },
        {
          op: "putSession",
          session: {
            ...plainSession({ key: "bench/lan", tunnel: "hub" }),
            control: sessionControl({ places: isSpoke ? "ICRQ" : null }),
          },
          device: { netns: null, name: "tap0" },
        },
      );
      // The same host is behind both hubs.
      await ip(name, "link", "set", "tap0", "address", `02:00:00:00:00:0${isSpoke ? 1 : 2}`);
      await ip(name, "addr", "add", `10.1.0.${isSpoke ? 1 : 2}/24`, "dev", "tap0");
      await ip(name, "link", "set", "tap0", "up");
    }
    const control = async () => (await spoke.list()).tunnels[0]?.control;
    await until("the hub and the backup are connected", async () =>
      (await control())?.paths.every(({ state }) => state === "established"),
    );
    let log = "";
    const ping = ["ping", "-D", "-i", String(PING_SECONDS), "10.1.0.2"];
    pinging.start(inside(net.a.name, ...ping), (text) => {
      log += text;
    });
    await until("pings are answered", () => pingReturns(log).length > 100);
    process.kill(await primary.pid(), "SIGKILL");
    const killed = Date.now();
    await until(
      "the hub is detected as down",
      async () => (await control())?.paths[0]?.state !== "established",
    );
    const missedMs = Date.now() - killed;
    // Early replies belong to pings sent before.
    const settled = killed + 5000 * PING_SECONDS;
    const first = await until("the backup forwards", () =>
      pingReturns(log).find(({ at }) => at > settled),
    );
    return { missedMs, pausedMs: first.at - killed };
  } finally {
    await pinging.stopAll();
    for (const end of ends) await end.destroy();
  }
}
