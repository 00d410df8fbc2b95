/** The agent's socket: checks what is asked, and hands it to whom it concerns. */
import type { Server } from "node:net";
import { findLink } from "../../datapath/netlink/link.ts";
import { lookUpRoute } from "../../datapath/netlink/route.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../datapath/netlink/socket.ts";
import { sessionMtu } from "../../l2tp/mtu.ts";
import { serve } from "../../rpc/server.ts";
import { deviceName } from "../convert/desired.ts";
import type { Agent, PassState } from "./agent.ts";
import { diagnose, type Surroundings } from "./doctor.ts";
import { AgentError } from "./errors.ts";
import { type AgentRequest, type AgentResults, MAX_REQUEST_BYTES } from "./protocol.ts";
import { attachmentRows, sessionRows, tunnelRows } from "./report.ts";
import { checkRequest } from "./request.ts";

const MAX_CONNECTIONS = 1024;
const IDLE_TIMEOUT_MS = 120_000;
/** The pass that writes the status leaves the way free for the calls that follow. */
const STATUS_DELAY_MS = 300;

export function serveAgent(agent: Agent, path: string): Promise<Server> {
  return serve({
    path,
    maxRequestBytes: MAX_REQUEST_BYTES,
    maxConnections: MAX_CONNECTIONS,
    idleTimeoutMs: IDLE_TIMEOUT_MS,
    handle: (request) => handle(agent, checkRequest(request)),
  });
}

async function handle(
  agent: Agent,
  request: AgentRequest,
): Promise<AgentResults[keyof AgentResults]> {
  switch (request.op) {
    case "ready":
      requireState(agent);
      await agent.listDatapath();
      return null;
    case "tunnels":
      return tunnelRows(requireState(agent), await agent.listDatapath(), agent.status);
    case "sessions": {
      const listing = await agent.listDatapath();
      return sessionRows(requireState(agent), listing, agent.status, agent.store);
    }
    case "attachments":
      return attachmentRows(requireState(agent), agent.store);
    case "doctor":
      return examine(agent, request.seconds);
    default:
      return agent.run(async () => {
        // A DEL that came while we were away comes before what is asked now.
        await agent.replayTombstones();
        return change(agent, request);
      });
  }
}

async function change(
  agent: Agent,
  request: Extract<AgentRequest, { op: "prepare" | "attach" | "detach" | "check" | "gc" }>,
): Promise<AgentResults[keyof AgentResults]> {
  switch (request.op) {
    case "prepare":
      return agent.attacher.prepare(request);
    case "attach": {
      const attached = await agent.attacher.attach(request);
      agent.trigger(STATUS_DELAY_MS);
      return attached;
    }
    case "detach":
      await agent.attacher.detach(request);
      agent.trigger(STATUS_DELAY_MS);
      return null;
    case "check":
      await agent.attacher.check(request, request.required);
      return null;
    case "gc":
      await agent.attacher.gc(request.network, request.valid, request.before);
      return null;
  }
}

function requireState(agent: Agent): PassState {
  if (agent.state !== null) return agent.state;
  throw new AgentError("NotReady", "the agent has not read its objects yet", "try again");
}

async function examine(agent: Agent, seconds: number) {
  const state = requireState(agent);
  const before = await agent.listDatapath();
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  return diagnose(before, await agent.listDatapath(), surroundings(agent, state));
}

function surroundings(agent: Agent, { resolved }: PassState): Surroundings {
  return {
    noRoute(name) {
      const tunnel = resolved.tunnels.get(name)?.tunnel;
      if (tunnel === undefined) return null;
      try {
        lookUpRoute(agent.node.socket, tunnel.remote.address, tunnel.local.address);
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
      if (known === undefined) return null;
      const [pod] = known.mode === "Direct" ? agent.store.livingOf(key) : [];
      if (pod === undefined) {
        const name = deviceName(known.session.sessionId);
        const link = findLink(agent.node.socket, name);
        return link === undefined ? null : { place: name, up: link.up };
      }
      const socket = new NetlinkSocket(NETLINK_ROUTE, pod.netns);
      const link = findLink(socket, pod.ifname);
      socket.close();
      return link === undefined ? null : { place: `${pod.ifname} of ${pod.pod}`, up: link.up };
    },
    isAttached: (key) => agent.store.livingOf(key).length > 0,
  };
}
