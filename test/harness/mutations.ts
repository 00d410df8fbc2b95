/** Mutated datagrams from a tunnel's remote, and the counters that account for them. */
import { openTunnelSocket } from "../../datapath/tunnel-socket.ts";
import type { Random } from "../../l2tp/testing/random.ts";
import { checked, isErrno } from "../../linux/errno.ts";
import { c } from "../../linux/ffi.ts";
import { inNetns } from "../../linux/netns.ts";
import { encodeSockaddr } from "../../linux/socket.ts";
import type { TestAgent } from "./agent.ts";
import type { TestNet } from "./net.ts";

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
