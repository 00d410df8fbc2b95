/** Serves the agent's socket: validates requests and dispatches them. */
import type { Server } from "node:net";
import { SystemError } from "../../linux/errno.ts";
import { ConnectionError } from "../../rpc/errors.ts";
import { type Client, serve } from "../../rpc/server.ts";
import { ReplyStream } from "../../rpc/stream.ts";
import { AgentError } from "../agent-error.ts";
import {
  type AgentRequest,
  type AgentResults,
  MAX_REQUEST_BYTES,
  type SessionRequest,
} from "../agent-protocol.ts";
import type { TraceRequest } from "../trace-protocol.ts";
import type { Agent } from "./agent.ts";
import { examine } from "./examine.ts";
import type { PassState } from "./pass-state.ts";
import { attachmentRows, sessionRows, tunnelRows } from "./report.ts";
import { checkRequest } from "./request.ts";
import { startTrace } from "./trace/trace.ts";

const MAX_CONNECTIONS = 1024;
const IDLE_TIMEOUT_MS = 120_000;
/** Delay of the pass that writes the status, so that it does not hold up further calls. */
const STATUS_DELAY_MS = 1000;

/**
 * Serves the agent's socket.
 * @param path of the socket, which gets mode 0600
 * @throws SystemError if the path cannot be bound
 */
export function serveAgent(agent: Agent, path: string): Promise<Server> {
  return serve({
    path,
    maxRequestBytes: MAX_REQUEST_BYTES,
    maxConnections: MAX_CONNECTIONS,
    idleTimeoutMs: IDLE_TIMEOUT_MS,
    handle: (request, client) =>
      handle(agent, checkRequest(request), client).catch((error) => {
        throw forCaller(error);
      }),
  });
}

async function handle(
  agent: Agent,
  request: AgentRequest,
  client: Client,
): Promise<AgentResults[keyof AgentResults] | ReplyStream> {
  // These two do not depend on objects.
  if (request.op !== "annotation" && request.op !== "dump") {
    await agent.awaitObjects(request.op === "attach" ? request.session : null);
  }
  switch (request.op) {
    case "ready":
      requireState(agent);
      await agent.requireDatapath();
      return null;
    case "tunnels":
      return tunnelRows(requireState(agent), await agent.node.measure(), agent.status);
    case "sessions": {
      const listing = await agent.node.measure();
      const links = agent.node.presentLinks();
      return sessionRows(requireState(agent), listing, agent.status, agent.store, links);
    }
    case "attachments":
      return attachmentRows(requireState(agent), agent.store, agent.node.presentLinks());
    case "dump":
      return agent.node.dump();
    case "annotation":
      return agent.source.annotationOf(request.pod, request.uid);
    case "doctor":
      return examine(agent, request.seconds, () => requireState(agent));
    case "trace":
      return traced(agent, request);
    default:
      return toldWhere(agent, request, async () => {
        // The client has given up and cleaned up, so the agent must change nothing now.
        if (client.isGone) throw new AgentError("ClientGone", "the client disconnected", "");
        // A deferred DEL is older than this request.
        await agent.carryOutDeferred();
        try {
          requireGone(agent, request);
          return await change(agent, request);
        } catch (error) {
          agent.log.warn({ request: request.op }, (error as Error).message);
          throw error;
        }
      });
  }
}

function traced(agent: Agent, request: TraceRequest): ReplyStream {
  const node = {
    nodeName: agent.nodeName,
    state: () => agent.state,
    look: () => agent.listDatapath(),
  };
  const { target, kinds } = request;
  return new ReplyStream(async (outlet) => {
    try {
      const ended = startTrace(request, node, outlet);
      agent.log.info({ target, kinds }, "trace started");
      await ended.finally(() => agent.log.info({ target }, "trace ended"));
      return null;
    } catch (error) {
      throw forCaller(error);
    }
  });
}

type ChangeRequest = Extract<
  AgentRequest,
  { op: "attach" | "configure" | "detach" | "check" | "gc" }
>;

async function change(
  agent: Agent,
  request: ChangeRequest,
): Promise<AgentResults[keyof AgentResults]> {
  switch (request.op) {
    case "attach": {
      const attached = await agent.attacher.attach(request);
      agent.trigger(STATUS_DELAY_MS);
      agent.log.info(whose(request), attached.isComplete ? "attached" : "interface created");
      return attached;
    }
    case "configure": {
      const { containerId, ifname } = request;
      const attached = await agent.attacher.configure(request);
      agent.trigger(STATUS_DELAY_MS);
      agent.log.info({ containerId, ifname }, "attached, with addresses from IPAM");
      return attached;
    }
    case "detach": {
      const detached = await agent.attacher.detach(request);
      if (detached.length === 0) return null;
      agent.trigger(STATUS_DELAY_MS);
      for (const attachment of detached) agent.log.info(whose(attachment), "detached");
      return null;
    }
    case "check":
      return agent.attacher.check(request, request);
    case "gc":
      await agent.attacher.gc(request.network, request.valid, request.before);
      return null;
  }
}

/** @throws AgentError if a DEL of the container is deferred: it would delete the interface of this ADD */
function requireGone(agent: Agent, request: ChangeRequest): void {
  if (request.op !== "attach") return;
  if (!agent.isLeaving(request)) return;
  const message = `an earlier DEL of container ${request.containerId} is still pending`;
  throw new AgentError("NotReady", message, "try again");
}

/** Converts errors of the datapath process and of system calls to errors of the agent's protocol. */
function forCaller(error: unknown): unknown {
  if (error instanceof ConnectionError) {
    const message = `the datapath process does not answer: ${error.message}`;
    const remedy = "try again; check that l2tp-datapath runs on the node";
    return new AgentError("DatapathAway", message, remedy);
  }
  if (!(error instanceof SystemError)) return error;
  const remedy = "try again; see l2tpctl doctor on the node";
  return new AgentError("SystemCallFailed", error.message, remedy);
}

/** Runs the task exclusively. If the session is on another node, adds that node to the error, outside of the mutex. */
async function toldWhere<T>(
  agent: Agent,
  request: AgentRequest,
  task: () => Promise<T>,
): Promise<T> {
  try {
    return await agent.run(task);
  } catch (error) {
    const isElsewhere = error instanceof AgentError && error.code === "UnknownSession";
    if (!isElsewhere || !("session" in request)) throw error;
    const where = await agent.source.locateSession(request.session);
    if (where === null) throw error;
    const remedy = "kubectl get l2tpsessions -A lists all sessions";
    throw new AgentError(error.code, `${error.message}: ${where}`, remedy);
  }
}

/** Returns the log fields of a pod's interface. */
function whose({ session, pod, containerId, ifname }: Omit<SessionRequest, "netns">) {
  return { session, pod, containerId, ifname };
}

function requireState(agent: Agent): PassState {
  if (agent.state !== null) return agent.state;
  throw new AgentError("NotReady", "agent not ready: objects not loaded", "try again");
}
