/** Mutated datagrams from a tunnel's remote, and the counters that account for them. */
import { openTunnelSocket } from "../../datapath/tunnel-socket.ts";
import type { Random } from "../../l2tp/testing/random.ts";
import { checked, isErrno } from "../../linux/errno.ts";
import { c } from "../../linux/ffi.ts";
import { inNetns } from "../../linux/netns.ts";
import { encodeSockaddr } from "../../linux/socket.ts";
import type { SessionSpec, TunnelSpec } from "../../operator/api/types.ts";
import type { TestAgent } from "./agent.ts";
import type { TestNet } from "./net.ts";
import { sessionObject, tunnelObject } from "./objects.ts";

/** Tunnels over UDP ("udp") and IP ("ip"), each with sessions 1 (plain), 2 (with a cookie) and 3 (that reorders). */
export function mutatedObjects(
  { a, b }: TestNet,
  session: Partial<SessionSpec> = {},
  udp: Partial<TunnelSpec> = {},
): object[] {
  const overIp = { encapsulation: "IP", tunnelId: 2, peerTunnelId: 2 } as const;
  const raw = { local: { address: a.ipv4 }, remote: { address: b.ipv4 } };
  const cookies = { receive: { value: "a1b2c3d4" } };
  const sequencing = { receive: true, reorderTimeout: "20ms" };
  return [
    tunnelObject("udp", a, b, udp),
    tunnelObject("ip", a, b, { ...raw, ...overIp }),
    ...["udp", "ip"].flatMap((tunnel, index) => {
      const of = (id: number) => ({ ...mutatedIds(index, id), ...session });
      return [
        sessionObject(`${tunnel}-plain`, tunnel, of(1)),
        sessionObject(`${tunnel}-cookie`, tunnel, { ...of(2), cookies }),
        sessionObject(`${tunnel}-order`, tunnel, { ...of(3), sequencing }),
      ];
    }),
  ];
}

/** The IDs of session `id` of the tunnel over UDP (index 0) or IP (index 1). */
export function mutatedIds(index: number, id: number) {
  return { sessionId: id + index * 16, peerSessionId: id };
}

export interface Spray {
  readonly encapsulation: "UDP" | "IP";
  readonly corpus: readonly Uint8Array[];
  readonly count: number;
}

/** Sends mutations of the corpus from host b to the tunnel of host a, as fast as the queues accept them. */
export function spray(net: TestNet, random: Random, { encapsulation, corpus, count }: Spray): void {
  const port = encapsulation === "UDP" ? 5000 : 0;
  const from = { address: net.b.ipv4, port };
  const fd = inNetns(net.b.netns, () => openTunnelSocket(encapsulation, from));
  const to = encodeSockaddr({ address: net.a.ipv4, port });
  for (let sent = 0; sent < count; sent++) {
    const bytes = random.mutate(random.pick(corpus), 16);
    try {
      checked(c.sendto(fd, bytes, bytes.length, 0, to, to.length), "send");
    } catch (error) {
      if (!isErrno(error, "EAGAIN", "ENOBUFS")) throw error;
    }
  }
  c.close(fd);
}

/** The number of datagrams that a tunnel has read, and the number that its counters account for. */
export async function account(
  agent: TestAgent,
  name: string,
): Promise<{ read: number; accounted: number }> {
  const tunnel = (await agent.ask({ op: "tunnels" })).find((row) => row.name === name);
  const { rxPackets: read = 0, ...rejected } = { ...tunnel?.counters };
  const sum = (values: readonly (number | undefined)[]) =>
    values.reduce<number>((total, value) => total + (value ?? 0), 0);
  const sessions = (await agent.ask({ op: "sessions" })).filter((row) => row.tunnel === name);
  const fates = sessions.flatMap(({ counters }) => {
    const { rxPackets, rxErrors, rxSeqDiscards, rxSourceMismatch, rxNoDevice } = counters;
    return [rxPackets, rxErrors, rxSeqDiscards, rxSourceMismatch, rxNoDevice];
  });
  return { read, accounted: sum(Object.values(rejected)) + sum(fates) };
}
