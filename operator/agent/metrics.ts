/** The agent's metrics: counters of the datapaths, read at each scrape. */
import { Counter, Gauge, type Registry } from "prom-client";
import type { TunnelState } from "../../datapath/datapath.ts";
import type { SessionCounters } from "../../model/model.ts";
import type { Agent } from "./agent.ts";

/** Counters of dropped frames, each with its direction and reason. */
const DISCARDS: readonly (readonly [keyof SessionCounters, string, string])[] = [
  ["txErrors", "transmit", "error"],
  ["txSpoofed", "transmit", "spoofed"],
  ["txUntagged", "transmit", "untagged"],
  ["txOtherVlan", "transmit", "vlan"],
  ["rxErrors", "receive", "error"],
  ["rxSeqDiscards", "receive", "late"],
  ["rxOosPackets", "receive", "out_of_sequence"],
  ["rxCookieDiscards", "receive", "cookie"],
  ["rxCongestionDiscards", "receive", "congestion"],
  ["rxInvalid", "receive", "invalid"],
  ["rxNotIp", "receive", "not_ip"],
  ["rxOversize", "receive", "oversize"],
  ["rxSourceMismatch", "receive", "source"],
  ["rxNoDevice", "receive", "no_pod"],
  ["rxUntagged", "receive", "untagged"],
  ["rxOtherVlan", "receive", "vlan"],
];

const CONTROL_EVENTS = [
  "sent",
  "received",
  "retransmitted",
  "unauthenticated",
  // Dropped before they were decoded.
  "dropped",
] as const;

/**
 * @param maxSessions maximum number of sessions with series of their own; all count in the sums
 * @returns a function that reads the counters; call it before each scrape
 */
export function watchAgent(
  registry: Registry,
  agent: Agent,
  maxSessions: number,
): () => Promise<void> {
  const registers = [registry];
  const perSession = ["namespace", "session", "direction"] as const;
  const objects = new Gauge({
    name: "l2tp_cni_objects",
    help: "Number of programmed objects, by kind.",
    labelNames: ["kind"],
    registers,
  });
  const sums = new Counter({
    name: "l2tp_cni_packets_total",
    help: "Frames of all present sessions of the node, by direction as seen from the node.",
    labelNames: ["direction"],
    registers,
  });
  const packets = new Counter({
    name: "l2tp_cni_session_packets_total",
    help: "Frames of a session, by direction as seen from the node.",
    labelNames: perSession,
    registers,
  });
  const bytes = new Counter({
    name: "l2tp_cni_session_bytes_total",
    help: "Bytes of a session's frames.",
    labelNames: perSession,
    registers,
  });
  const discards = new Counter({
    name: "l2tp_cni_session_discards_total",
    help: "Dropped frames of a session, by direction and reason.",
    labelNames: [...perSession, "reason"] as const,
    registers,
  });
  const previousCookie = new Counter({
    name: "l2tp_cni_session_previous_cookie_total",
    help: "Frames of a session with its previous cookie.",
    labelNames: ["namespace", "session"],
    registers,
  });
  const alive = new Gauge({
    name: "l2tp_cni_tunnel_alive",
    help: "1 while the tunnel's control connection is established.",
    labelNames: ["tunnel"],
    registers,
  });
  const ofRemote = ["tunnel", "remote"] as const;
  const peerAlive = new Gauge({
    name: "l2tp_cni_tunnel_remote_alive",
    help: "1 while the control connection to this remote or backup is established.",
    labelNames: ofRemote,
    registers,
  });
  const carrying = new Gauge({
    name: "l2tp_cni_tunnel_remote_active",
    help: "1 for the active remote of a managed tunnel, else 0.",
    labelNames: ofRemote,
    registers,
  });
  const messages = new Counter({
    name: "l2tp_cni_control_messages_total",
    help: "Control messages of a tunnel, by event.",
    labelNames: ["tunnel", "event"],
    registers,
  });
  const told = [
    ...[objects, sums, packets, bytes, discards, previousCookie],
    ...[alive, peerAlive, carrying, messages],
  ];
  const tellControl = ({ tunnel: { name }, control }: TunnelState) => {
    if (control === undefined) return;
    alive.set({ tunnel: name }, control.state === "established" ? 1 : 0);
    for (const [index, { remote, state }] of control.paths.entries()) {
      const labels = { tunnel: name, remote: remote.address };
      peerAlive.set(labels, state === "established" ? 1 : 0);
      carrying.set(labels, index === control.active ? 1 : 0);
    }
    for (const event of CONTROL_EVENTS) {
      messages.inc({ tunnel: name, event }, control[event]);
    }
  };
  return async () => {
    // Removes the series of deleted objects, and all series if the counters cannot be read.
    for (const metric of told) metric.reset();
    const { tunnels, sessions } = await agent.node.measure();
    objects.set({ kind: "tunnel" }, tunnels.length);
    objects.set({ kind: "session" }, sessions.length);
    objects.set({ kind: "attachment" }, [...agent.store.all()].length);
    for (const tunnel of tunnels) tellControl(tunnel);
    for (const { counters } of sessions) {
      sums.inc({ direction: "transmit" }, counters.txPackets);
      sums.inc({ direction: "receive" }, counters.rxPackets);
    }
    for (const { session, counters } of sessions.slice(0, maxSessions)) {
      const [namespace = "", name = ""] = session.key.split("/");
      const labels = { namespace, session: name };
      packets.inc({ ...labels, direction: "transmit" }, counters.txPackets);
      packets.inc({ ...labels, direction: "receive" }, counters.rxPackets);
      bytes.inc({ ...labels, direction: "transmit" }, counters.txBytes);
      bytes.inc({ ...labels, direction: "receive" }, counters.rxBytes);
      previousCookie.inc({ namespace, session: name }, counters.rxPreviousCookie ?? 0);
      for (const [field, direction, reason] of DISCARDS) {
        discards.inc({ ...labels, direction, reason }, counters[field] ?? 0);
      }
    }
  };
}
