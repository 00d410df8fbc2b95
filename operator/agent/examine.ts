/** Examines the node for `l2tpctl doctor`: two snapshots of the counters, and a capture in between. */
import type { Listing } from "../../datapath/datapath.ts";
import { findLink } from "../../linux/netlink/link.ts";
import { attachmentMode, hasCircuit } from "../../model/attachments/index.ts";
import { sessionMtu } from "../../model/mtu.ts";
import { nodePaths } from "../../underlay/index.ts";
import type { Examination } from "../agent-protocol.ts";
import { ownDeviceName } from "../resolve/desired.ts";
import type { Agent } from "./agent.ts";
import { captureTunnels } from "./capture-tunnels.ts";
import { diagnose } from "./doctor.ts";
import { aboutUnreadable } from "./findings/attachments.ts";
import { aboutFragments, readFragments } from "./findings/fragments.ts";
import { underlayFindings } from "./findings/icmp.ts";
import type { NodeKnowledge } from "./findings/picture.ts";
import { objectFindings } from "./object-findings.ts";
import type { PassState } from "./pass-state.ts";
import { attachmentRows, sessionRows, tunnelRows } from "./report.ts";
import { watchUnderlay } from "./underlay-watch.ts";

/** @param seconds duration of the capture @param requireState returns the state of the last pass, or throws */
export async function examine(
  agent: Agent,
  seconds: number,
  requireState: () => PassState | Promise<PassState>,
): Promise<Examination> {
  const before = await agent.node.measure();
  const fragments = readFragments();
  const [captured, underlay] = await Promise.all([
    captureTunnels(before, seconds),
    watchUnderlay(seconds * 1000),
  ]);
  const state = await requireState();
  const after = await agent.node.measure();
  const links = agent.node.presentLinks();
  const input = {
    nodeName: agent.nodeName,
    folder: agent.folder,
    intake: state.intake,
    rejections: state.rejections,
    tunnels: tunnelRows(state, after, agent.status),
    sessions: sessionRows(state, after, agent.status, agent.store, links),
    attachments: attachmentRows(state, agent.store, links),
  };
  const watched = diagnose(before, after, surroundings(agent, state, after), captured.wires);
  const total = (listing: Listing, name: "rxPackets" | "txPackets") =>
    listing.sessions.reduce((sum, { counters }) => sum + counters[name], 0);
  return {
    findings: [
      ...objectFindings(input),
      ...aboutUnreadable(agent.store.unreadable),
      ...watched,
      ...aboutFragments(agent.nodeName, fragments, readFragments()),
      ...underlayFindings(before, after, underlay),
    ],
    tunnels: input.tunnels.length,
    sessions: input.sessions.length,
    rxPackets: total(after, "rxPackets") - total(before, "rxPackets"),
    txPackets: total(after, "txPackets") - total(before, "txPackets"),
    seconds,
    captured: {
      tunnels: captured.wires.size,
      datagrams: captured.datagrams,
      problem: captured.problem,
    },
  };
}

function surroundings(agent: Agent, { resolved }: PassState, { sessions }: Listing): NodeKnowledge {
  const programmed = new Map(sessions.map((state) => [state.session.key, state]));
  return {
    noRoute(name) {
      const tunnel = resolved.tunnels.get(name)?.tunnel;
      if (tunnel === undefined) return null;
      try {
        const { route } = nodePaths(agent.node.socket);
        route(tunnel.remote.address, tunnel.local.address, tunnel.device);
        return null;
      } catch (error) {
        return String((error as { code?: string }).code ?? error);
      }
    },
    fittingMtu(key) {
      const session = resolved.sessions.get(key)?.session;
      const tunnel = resolved.tunnels.get(session?.tunnel ?? "");
      if (session === undefined || tunnel === undefined || tunnel.noRoute !== null) return null;
      return sessionMtu(tunnel.underlayMtu, tunnel.tunnel, session);
    },
    device(key) {
      const known = resolved.sessions.get(key);
      const isOnNode = known !== undefined && attachmentMode(known.mode).deviceIn === "node";
      const [pod] = isOnNode ? [] : agent.store.livingOf(key);
      if (pod === undefined) {
        if (known === undefined) return null;
        const name = ownDeviceName(known, programmed.get(key));
        const link = findLink(agent.node.socket, name);
        return link === undefined ? null : { place: name, up: link.up, mtu: link.mtu };
      }
      const link = agent.node.podLink(pod);
      return link === undefined
        ? null
        : { place: `${link.name} of ${pod.pod}`, up: link.up, mtu: link.mtu };
    },
    isAttached: (key) =>
      agent.store.livingOf(key).length > 0 ||
      hasCircuit(resolved.sessions.get(key)?.nodeInterface) ||
      resolved.sessions.get(key)?.session.switchTo !== undefined,
    nodeInterface: (key) => resolved.sessions.get(key)?.nodeInterface ?? null,
    hasDevice: (key) => resolved.sessions.get(key)?.switched?.byDevices !== false,
  };
}
