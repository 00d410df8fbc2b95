/** Validates requests at the agent's socket. */
import { RT_TABLE_MAIN } from "../../linux/netlink/route.ts";
import {
  canonicalInterfaceAddress,
  parseAddress,
  parseInterfaceAddress,
  parsePrefix,
} from "../../net/ip.ts";
import { AgentError } from "../agent-error.ts";
import {
  type Addressing,
  type AgentRequest,
  type CniCall,
  FORMS,
  type Route,
} from "../agent-protocol.ts";
import { TRACE_KINDS } from "../trace-protocol.ts";

const MAX_DOCTOR_SECONDS = 60;

/** Returns the validated request, without unknown fields. @throws AgentError InvalidRequest */
export function checkRequest(request: unknown): AgentRequest {
  if (typeof request !== "object" || request === null)
    throw invalid("the request must be an object");
  const fields = request as Record<string, unknown>;
  switch (fields.op) {
    case "ready":
    case "tunnels":
    case "sessions":
    case "attachments":
    case "dump":
      return { op: fields.op };
    case "doctor": {
      const { seconds } = fields;
      const isFine = typeof seconds === "number" && seconds >= 0 && seconds <= MAX_DOCTOR_SECONDS;
      if (!isFine) throw invalid(`seconds: must be 0 to ${MAX_DOCTOR_SECONDS}`);
      return { op: "doctor", seconds };
    }
    case "trace":
      return checkTrace(fields);
    case "annotation":
      return {
        op: "annotation",
        pod: text(fields.pod, "pod", FORMS.pod),
        uid: typeof fields.uid === "string" ? fields.uid.slice(0, 64) : null,
      };
    case "detach":
      return { op: "detach", ...checkCall(fields), netns: checkNetns(fields.netns) };
    case "check":
      return {
        op: "check",
        ...checkCall(fields),
        addresses: list(fields.addresses ?? [], "addresses").map(String),
        destinations: list(fields.destinations ?? [], "destinations").map(String),
      };
    case "gc":
      return checkGc(fields);
    case "attach":
      return checkAttach(fields);
    case "configure":
      return {
        op: "configure",
        ...checkCall(fields),
        ifname: text(fields.ifname, "ifname", FORMS.ifname),
        ...checkAddressing(fields),
      };
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

const UTC_TIME = /^\d{4}-\d\d-\d\dT[\d:.]+Z$/;
const MAX_ITEMS = 256;

function checkCall(fields: Record<string, unknown>): CniCall {
  return {
    containerId: text(fields.containerId, "containerId", FORMS.containerId),
    cniIfname: text(fields.cniIfname, "cniIfname", FORMS.ifname),
  };
}

/** Plugins of earlier versions send no netns. */
function checkNetns(value: unknown): string | null {
  return value === undefined || value === null ? null : text(value, "netns", FORMS.netns);
}

function checkSession(fields: Record<string, unknown>) {
  return {
    ...checkCall(fields),
    ifname: text(fields.ifname, "ifname", FORMS.ifname),
    netns: text(fields.netns, "netns", FORMS.netns),
    session: text(fields.session, "session", FORMS.session),
    pod: fields.pod === null ? null : text(fields.pod, "pod", FORMS.pod),
  };
}

function list(value: unknown, name: string): readonly unknown[] {
  if (Array.isArray(value) && value.length <= MAX_ITEMS) return value;
  throw invalid(`${name}: must be a list of at most ${MAX_ITEMS} items`);
}

function checkAttach(fields: Record<string, unknown>): AgentRequest {
  const mac = fields.mac === null ? null : text(fields.mac, "mac", FORMS.mac);
  // Bit 0 of the first byte marks group addresses (IEEE 802).
  if (mac !== null && (Number.parseInt(mac.slice(0, 2), 16) & 1) === 1) {
    throw invalid(`mac ${mac} is a group address`);
  }
  return {
    op: "attach",
    ...checkSession(fields),
    network: text(fields.network, "network", FORMS.network),
    mac,
    awaitsIpam: fields.awaitsIpam === true,
    // Plugins of earlier versions send no ipamType.
    ipamType: typeof fields.ipamType === "string" ? fields.ipamType.slice(0, 255) : null,
    ...checkAddressing(fields),
  };
}

function checkAddressing(fields: Record<string, unknown>): Addressing {
  return {
    addresses: list(fields.addresses, "addresses").map(checkInterfaceAddress),
    routes: list(fields.routes, "routes").map(checkRoute),
    ipam: fields.ipam ?? null,
  };
}

function checkInterfaceAddress(value: unknown): string {
  const isFine = typeof value === "string" && parseInterfaceAddress(value) !== undefined;
  if (isFine) return canonicalInterfaceAddress(value);
  throw invalid(
    `${JSON.stringify(value)?.slice(0, 100)} is not ADDRESS/LENGTH or ADDRESS peer ADDRESS`,
  );
}

/** Maximum values of rtnetlink's route attributes. */
const ROUTE_NUMBERS = {
  priority: 0xffff_ffff,
  table: 0xffff_ffff,
  scope: 255,
  mtu: 65_535,
  advmss: 65_535,
} as const;

function checkRoute(value: unknown): Route {
  const route = (value ?? {}) as Record<string, unknown>;
  const { destination, gateway = null } = route;
  if (typeof destination !== "string" || parsePrefix(destination) === undefined) {
    throw invalid(`${JSON.stringify(destination)?.slice(0, 100)} is not ADDRESS/LENGTH`);
  }
  const isFine = gateway === null || parseAddress(String(gateway)) !== undefined;
  if (!isFine) throw invalid(`gateway ${JSON.stringify(gateway)} is not an address`);
  const numbers = Object.entries(ROUTE_NUMBERS).flatMap(([field, most]) => {
    const number = route[field];
    if (number === undefined) return [];
    const isInRange =
      Number.isInteger(number) && (number as number) >= 0 && (number as number) <= most;
    if (!isInRange) {
      const shown = JSON.stringify(number)?.slice(0, 50);
      throw invalid(`route ${destination}: ${field} ${shown} is not a number from 0 to ${most}`);
    }
    // A route without a table is in the main table.
    return field === "table" && number === RT_TABLE_MAIN ? [] : [[field, number]];
  });
  return { destination, gateway: gateway as string | null, ...Object.fromEntries(numbers) };
}

function checkTrace(fields: Record<string, unknown>): AgentRequest {
  const { target } = fields;
  const isSession = typeof target === "string" && target.includes("/");
  const asked = list(fields.kinds, "kinds");
  const kinds = TRACE_KINDS.filter((kind) => asked.includes(kind));
  if (kinds.length !== asked.length) throw invalid(`kinds: must be ${TRACE_KINDS.join(", ")}`);
  return {
    op: "trace",
    target: text(target, "target", isSession ? FORMS.session : FORMS.tunnel),
    kinds,
  };
}

function checkGc(fields: Record<string, unknown>): AgentRequest {
  if (!Array.isArray(fields.valid)) throw invalid("valid: must be a list");
  return {
    op: "gc",
    network: text(fields.network, "network", FORMS.network),
    valid: fields.valid.map((ref) => checkCall((ref ?? {}) as Record<string, unknown>)),
    before: text(fields.before, "before", UTC_TIME),
  };
}
