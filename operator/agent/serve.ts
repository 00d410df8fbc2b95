/** The agent's socket: checks what is asked, and hands it to whom it concerns. */
import type { Server } from "node:net";
import { findLink } from "../../datapath/netlink/link.ts";
import { lookUpRoute } from "../../datapath/netlink/route.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../datapath/netlink/socket.ts";
import { parseAddress, parsePrefix } from "../../l2tp/ip.ts";
import { pseudowireMtu } from "../../l2tp/mtu.ts";
import { serve } from "../../rpc/server.ts";
import { deviceName } from "../convert/desired.ts";
import type { Agent, PassState } from "./agent.ts";
import { diagnose, type Surroundings } from "./doctor.ts";
import { AgentError } from "./errors.ts";
import { isAlive } from "./observe.ts";
import {
  type AgentRequest,
  type AgentResults,
  type CniCall,
  MAX_REQUEST_BYTES,
} from "./protocol.ts";
import { attachmentRows, sessionRows, tunnelRows } from "./report.ts";

const MAX_CONNECTIONS = 1024;
const IDLE_TIMEOUT_MS = 120_000;
const MAX_DOCTOR_SECONDS = 60;
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
      await agent.attacher.gc(
        request.network,
        request.valid,
        request.before ?? new Date().toISOString(),
      );
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
  const attached = (key: string) =>
    agent.store.ofSession(key).filter((item) => !item.leaving && isAlive(item));
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
      return pseudowireMtu(tunnel.underlayMtu, {
        family: tunnel.tunnel.remote.address.includes(":") ? 6 : 4,
        encapsulation: tunnel.tunnel.encapsulation,
        l2SpecificSublayer: session.l2SpecificSublayer,
        txCookieBytes: session.txCookie.length / 2,
      });
    },
    device(key) {
      const known = resolved.sessions.get(key);
      if (known === undefined) return null;
      const [pod] = known.mode === "Direct" ? attached(key) : [];
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
    isAttached: (key) => attached(key).length > 0,
  };
}

/** The request, its fields checked as far as anything is done with them. @throws AgentError */
function checkRequest(request: unknown): AgentRequest {
  if (typeof request !== "object" || request === null) throw invalid("a request is an object");
  const fields = request as Record<string, unknown>;
  switch (fields.op) {
    case "ready":
    case "tunnels":
    case "sessions":
    case "attachments":
      return { op: fields.op };
    case "doctor": {
      const { seconds } = fields;
      const isFine = typeof seconds === "number" && seconds >= 0 && seconds <= MAX_DOCTOR_SECONDS;
      if (!isFine) throw invalid(`seconds: 0 to ${MAX_DOCTOR_SECONDS}`);
      return { op: "doctor", seconds };
    }
    case "detach":
      return { op: "detach", ...checkCall(fields) };
    case "check":
      return { op: "check", ...checkCall(fields), required: fields.required === true };
    case "gc":
      return checkGc(fields);
    case "prepare":
      return { op: "prepare", ...checkSession(fields) };
    case "attach":
      return checkAttach(fields);
    default:
      throw invalid(`unknown request ${JSON.stringify(fields.op)}`);
  }
}

const invalid = (message: string): AgentError =>
  new AgentError(
    "InvalidRequest",
    message,
    "use the CNI plugin and l2tpctl of the agent's version",
  );

function text(value: unknown, name: string, pattern: RegExp): string {
  if (typeof value === "string" && pattern.test(value)) return value;
  throw invalid(`${name} ${JSON.stringify(value)?.slice(0, 100)} is not valid`);
}

const CONTAINER_ID = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,149}$/;
const IFNAME = /^(?!\.{1,2}$)[^\s/:]{1,15}$/;
const PATH = /^\/[^\0]{0,4094}$/;
const KEY = /^[a-z0-9][-a-z0-9]{0,62}\/[a-z0-9][-a-z0-9]{0,62}$/;
const POD = /^[a-z0-9][-a-z0-9]{0,62}\/[a-z0-9][-a-z0-9.]{0,252}$/;
const MAC = /^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$/;
const NETWORK = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,252}$/;
const MAX_ITEMS = 256;

function checkCall(fields: Record<string, unknown>): CniCall {
  return {
    containerId: text(fields.containerId, "containerId", CONTAINER_ID),
    cniIfname: text(fields.cniIfname, "cniIfname", IFNAME),
  };
}

function checkSession(fields: Record<string, unknown>) {
  return {
    ...checkCall(fields),
    ifname: text(fields.ifname, "ifname", IFNAME),
    netns: text(fields.netns, "netns", PATH),
    session: text(fields.session, "session", KEY),
    pod: fields.pod === null ? null : text(fields.pod, "pod", POD),
  };
}

function list(value: unknown, name: string): readonly unknown[] {
  if (Array.isArray(value) && value.length <= MAX_ITEMS) return value;
  throw invalid(`${name}: a list of up to ${MAX_ITEMS} is needed`);
}

function checkAttach(fields: Record<string, unknown>): AgentRequest {
  const mac = fields.mac === null ? null : text(fields.mac, "mac", MAC);
  // Bit 0 of the first byte marks groups (IEEE 802).
  if (mac !== null && (Number.parseInt(mac.slice(0, 2), 16) & 1) === 1) {
    throw invalid(`mac ${mac} is a group's address`);
  }
  return {
    op: "attach",
    ...checkSession(fields),
    network: text(fields.network, "network", NETWORK),
    mac,
    addresses: list(fields.addresses, "addresses").map(checkPrefix),
    routes: list(fields.routes, "routes").map((route) => {
      const { destination, gateway } = (route ?? {}) as Record<string, unknown>;
      const isFine = gateway === null || parseAddress(String(gateway)) !== undefined;
      if (!isFine) throw invalid(`gateway ${JSON.stringify(gateway)} is not an address`);
      return { destination: checkPrefix(destination), gateway: gateway as string | null };
    }),
    ipam: fields.ipam ?? null,
  };
}

function checkPrefix(value: unknown): string {
  if (typeof value === "string" && parsePrefix(value) !== undefined) return value;
  throw invalid(`${JSON.stringify(value)?.slice(0, 100)} is not ADDRESS/LENGTH`);
}

function checkGc(fields: Record<string, unknown>): AgentRequest {
  if (!Array.isArray(fields.valid)) throw invalid("valid: a list is needed");
  const before =
    fields.before === undefined
      ? {}
      : { before: text(fields.before, "before", /^\d{4}-\d\d-\d\dT[\d:.]+Z$/) };
  return {
    op: "gc",
    network: text(fields.network, "network", NETWORK),
    valid: fields.valid.map((ref) => checkCall((ref ?? {}) as Record<string, unknown>)),
    ...before,
  };
}
