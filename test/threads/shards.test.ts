/** Several threads in one datapath: who gets which datagram, and what users see of it. */
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DatapathClient } from "../../datapath/userspace/client.ts";
import { shardOf, steer } from "../../datapath/userspace/process/shards/steering.ts";
import { closeFd } from "../../linux/fd.ts";
import { inNetns } from "../../linux/netns.ts";
import { AF_INET, AF_INET6, openTunnelSocket } from "../../linux/socket.ts";
import { receive } from "../../linux/unix.ts";
import type { Encapsulation } from "../../model/model.ts";
import { TestAgent } from "../harness/agent.ts";
import { cni } from "../harness/cni.ts";
import { type Host, inside, ip, link, ping, TestNet } from "../harness/net.ts";
import { sessionObject, tunnelObject } from "../harness/objects.ts";
import { run } from "../harness/run.ts";
import { streamTcp } from "../harness/streams.ts";
import { until } from "../harness/wait.ts";

const SHARDS = 3;
const PORT = 5000;
/** Sends its arguments "source=hex" from whatever address: python has the option by number. */
const SENDER = `
import socket, sys
protocol, to, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
v6 = ":" in to
for item in sys.argv[4:]:
    source, payload = item.split("=")
    kind = socket.SOCK_DGRAM if protocol == "UDP" else socket.SOCK_RAW
    s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, kind, 0 if protocol == "UDP" else 115)
    s.setsockopt(41 if v6 else 0, 75 if v6 else 19, 1)
    s.bind((source, 0))
    s.sendto(bytes.fromhex(payload), (to, port if protocol == "UDP" else 0))
`;

let net: TestNet;

beforeEach(async () => {
  net = await TestNet.create();
});

afterEach(() => net.remove());

/** @param sends [source, hexadecimal payload] */
function sendFrom(
  host: Host,
  encapsulation: Encapsulation,
  to: string,
  sends: readonly (readonly [string, string])[],
) {
  const items = sends.map(([source, payload]) => `${source}=${payload}`);
  const args = ["-c", SENDER, encapsulation, to, String(PORT), ...items];
  return run(inside(host.name, "python3", ...args));
}

describe("the kernel gives a datagram to the shard of its sender", () => {
  const sources = {
    ipv4: Array.from({ length: 120 }, (_, i) => `10.${i % 7}.${i % 11}.${i + 1}`),
    ipv6: Array.from({ length: 120 }, (_, i) => `fd00:${i % 5}::${i % 3}:${(i + 1).toString(16)}`),
  };
  for (const encapsulation of ["UDP", "IP"] as const) {
    for (const family of ["ipv4", "ipv6"] as const) {
      it(`${encapsulation} over ${family}`, async () => {
        const local = { address: net.a[family], port: encapsulation === "UDP" ? PORT : 0 };
        const fds = inNetns(net.a.netns, () =>
          Array.from({ length: SHARDS }, (_, index) =>
            openTunnelSocket(encapsulation, local, (fd) =>
              steer(fd, encapsulation, family === "ipv4" ? AF_INET : AF_INET6, {
                index,
                count: SHARDS,
              }),
            ),
          ),
        );
        try {
          // From the node to itself, nobody asks whether there is a way back.
          const sends = sources[family].map((source) => [source, hex(source)] as const);
          await sendFrom(net.a, encapsulation, local.address, sends);
          const got = fds.map((fd) => receiveAll(fd, encapsulation === "IP" && family === "ipv4"));
          const expected = fds.map((_, shard) =>
            sources[family].filter((source) => shardOf(source, SHARDS) === shard),
          );
          expect(got).toEqual(expected);
          // Of any three there are some: else this says nothing.
          for (const some of expected)
            expect(some.length).toBeGreaterThan(sources[family].length / 6);
        } finally {
          for (const fd of fds) closeFd(fd);
        }
      });
    }
  }
});

const hex = (text: string) => Buffer.from(text).toString("hex");

function receiveAll(fd: number, behindIpHeader: boolean): string[] {
  const buffer = Buffer.alloc(2048);
  const texts: string[] = [];
  for (;;) {
    const length = receive(fd, buffer);
    if (length < 0) return texts;
    texts.push(buffer.subarray(behindIpHeader ? 20 : 0, length).toString());
  }
}

describe("a datapath of three threads", () => {
  const CIRCUITS = [0, 1, 2, 3, 4, 5] as const;
  const encapsulationOf = (circuit: number): Encapsulation => (circuit < 4 ? "UDP" : "IP");
  let agents: [TestAgent, TestAgent];
  let pods: [string, string];
  /** Of host b, by circuit. */
  let remotes: string[];

  beforeEach(async () => {
    agents = [new TestAgent(net.a), new TestAgent(net.b)];
    pods = [await net.addPod("left"), await net.addPod("right")];
    // All shards have some of both encapsulations.
    const addresses = Array.from({ length: 60 }, (_, i) => `192.0.2.${i + 10}`);
    const spare = (shard: number) =>
      addresses.splice(
        addresses.findIndex((address) => shardOf(address, SHARDS) === shard),
        1,
      )[0] as string;
    remotes = CIRCUITS.map((circuit) => spare(circuit % SHARDS));
    for (const address of [...remotes, spare(1)]) await addAddress(address);
    await writeObjects();
    await agents[0].start();
    await agents[1].start();
    for (const [side, host] of [net.a, net.b].entries()) {
      for (const circuit of CIRCUITS) {
        const config = {
          cniVersion: "1.0.0",
          name: "self",
          type: "l2tp",
          session: `shop/s${circuit}`,
          socket: agents[side]?.socket,
          runtimeConfig: { ips: [`10.1.${circuit}.${side + 1}/24`] },
        };
        const call = { command: "ADD", netns: pods[side] ?? "", ifname: `net${circuit}`, config };
        const answer = await cni(host, call);
        expect(answer.status, answer.stdout).toBe(0);
      }
    }
    for (const circuit of CIRCUITS) await crosses(circuit);
  });

  afterEach(async () => {
    for (const agent of agents) await agent.destroy();
  });

  function addAddress(address: string) {
    return ip(net.b.name, "addr", "replace", `${address}/24`, "dev", net.b.device);
  }

  /** Node a has one local endpoint for all circuits of an encapsulation, node b one for each. */
  async function writeObjects(): Promise<void> {
    for (const [side, agent] of agents.entries()) {
      const objects = CIRCUITS.flatMap((circuit) => {
        const encapsulation = encapsulationOf(circuit);
        const port = encapsulation === "UDP" ? { port: PORT } : {};
        const ends = [
          { address: net.a.ipv4, ...port },
          { address: remotes[circuit] as string, ...port },
        ] as const;
        const [local, remote] = side === 0 ? ends : [ends[1], ends[0]];
        const ids = { tunnelId: circuit + 1, peerTunnelId: circuit + 1 };
        const session = { sessionId: 128 + circuit, peerSessionId: 128 + circuit };
        return [
          tunnelObject(`t${circuit}`, agent.host, agent.host, {
            encapsulation,
            local,
            remote,
            ...ids,
          }),
          sessionObject(`s${circuit}`, `t${circuit}`, {
            ...session,
            sequencing: { send: true, receive: true },
          }),
        ];
      });
      agent.write("all.yaml", objects);
    }
  }

  function crosses(circuit: number) {
    return until(`circuit ${circuit}`, () => ping(pods[0], `10.1.${circuit}.2`));
  }

  async function datapathOf(side: number) {
    const client = new DatapathClient(join(dirname(agents[side]?.socket ?? ""), "datapath.sock"));
    try {
      return await client.list();
    } finally {
      client.close();
    }
  }

  it("carries all circuits at once, each in order", async () => {
    const streams = CIRCUITS.map((circuit) =>
      streamTcp(
        { netns: pods[1], address: `10.1.${circuit}.2` },
        { netns: pods[0], address: `10.1.${circuit}.1` },
        8_000_000,
      ),
    );
    for (const { sent, received } of await Promise.all(streams)) expect(received).toEqual(sent);
    const { sessions } = await datapathOf(0);
    expect(sessions).toHaveLength(CIRCUITS.length);
    for (const { counters } of sessions) {
      expect(counters).toMatchObject({ rxOosPackets: 0, rxSeqDiscards: 0, rxErrors: 0 });
    }
  });

  it("keeps a pod's interface when the remote moves to another thread", async () => {
    const before = await link(pods[0], "net0");
    const next = (await usableRemote(1)) as string;
    expect(shardOf(next, SHARDS)).not.toBe(shardOf(remotes[0] as string, SHARDS));
    remotes[0] = next;
    await writeObjects();
    await until("the tunnel has moved", async () => {
      const { tunnels } = await datapathOf(0);
      return tunnels.find(({ tunnel }) => tunnel.name === "t0")?.tunnel.remote.address === next;
    });
    await crosses(0);
    expect((await link(pods[0], "net0"))?.ifindex).toBe(before?.ifindex);
    for (const circuit of CIRCUITS) await crosses(circuit);
    expect((await datapathOf(0)).sessions.every(({ deviceOpen }) => deviceOpen)).toBe(true);
  });

  it("names strangers and unknown sessions as one thread would", async () => {
    // To one session, from an address of each thread.
    const strangers = [0, 1, 2].map((shard) => {
      const numbers = Array.from({ length: 60 }, (_, i) => `192.0.2.${100 + i}`);
      return numbers.find((address) => shardOf(address, SHARDS) === shard) as string;
    });
    for (const stranger of strangers) {
      await sendFrom(net.b, "UDP", net.a.ipv4, [[stranger, dataMessage(128)]]);
      await until(`${stranger} is seen`, async () => {
        const { tunnels } = await datapathOf(0);
        const { lastStranger, lastUnknownSession } =
          tunnels.find(({ tunnel }) => tunnel.name === "t0") ?? {};
        expect(lastUnknownSession).toBeNull();
        return lastStranger?.address === stranger;
      });
    }
    await sendFrom(net.b, "UDP", net.a.ipv4, [[remotes[0] as string, dataMessage(4711)]]);
    await until("the unknown session is seen", async () => {
      const { tunnels } = await datapathOf(0);
      return tunnels[0]?.lastUnknownSession === 4711;
    });
  });

  it("does not take a port that somebody has", async () => {
    const taken = { address: net.a.ipv4, port: 5999 };
    const fd = inNetns(net.a.netns, () => openTunnelSocket("UDP", taken, (it) => share(it)));
    try {
      agents[0].write("more.yaml", [
        tunnelObject("more", net.a, net.b, { tunnelId: 99, local: taken }),
      ]);
      await until("it says so", () => {
        const { status, message } = agents[0].condition("l2tptunnel", "more", "Programmed") ?? {};
        return status === "False" && message?.includes("5999");
      });
    } finally {
      closeFd(fd);
    }
    await until(
      "it has the port now",
      () => agents[0].condition("l2tptunnel", "more", "Programmed")?.status === "True",
    );
  });

  async function usableRemote(shard: number): Promise<string | undefined> {
    const addresses = (await link(net.b.name, net.b.device))?.addr_info ?? [];
    return addresses
      .map(({ local }) => local)
      .find(
        (local) =>
          !remotes.includes(local) &&
          local !== net.b.ipv4 &&
          !local.includes(":") &&
          shardOf(local, SHARDS) === shard,
      );
  }
});

const share = (fd: number) => steer(fd, "UDP", AF_INET, { index: 0, count: 1 });

/** A data message over UDP: flags and version, reserved, the session, a sublayer, an Ethernet frame. */
function dataMessage(sessionId: number): string {
  return `00030000${sessionId.toString(16).padStart(8, "0")}${"00".repeat(4 + 60)}`;
}
