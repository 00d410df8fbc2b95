/** Determines the sessions of a pod from the configuration and the pod's annotation. */
import { ANNOTATION, FORMS } from "../operator/agent-protocol.ts";
import { type Config, type Invocation, strings } from "./config.ts";
import { CniCode, CniError } from "./errors.ts";

/** A session for the pod, and its interface. */
export interface RequestedInterface {
  /** "namespace/name". */
  readonly session: string;
  readonly ifname: string;
  readonly mac: string | null;
  readonly ips: readonly string[];
}

const MAX_SESSIONS = 64;

/** Default interface names of a chained plugin. Multus uses `net1`, `net2`, … */
const defaultName = (index: number): string => `l2tp${index}`;

function qualify(session: string, { pod, config }: Invocation): string {
  if (session.includes("/")) return session;
  return `${pod?.split("/")[0] ?? config.namespace}/${session}`;
}

/** A main plugin creates CNI_IFNAME; a chained plugin adds interfaces to the previous result. */
export function isChained({ prevResult }: Config): boolean {
  return prevResult !== null;
}

/**
 * True if the configuration is that of a main plugin. For STATUS, which never has a previous result. A chained
 * plugin has no `ipam`; a main plugin reads neither `interface` nor the pod's annotations.
 */
export function isMainForm({ ipam, session, ifname, lacksAnnotations }: Config): boolean {
  const isForChain = ifname !== null || lacksAnnotations;
  return ipam !== null || (session !== null && !isForChain);
}

const NOTHING = /^\s*(\[\s*\])?\s*$/;

/** True if a chained plugin can tell without the agent that the pod has no session. */
export function asksForNothing({ config }: Invocation): boolean {
  const isUnknown = !isChained(config) || config.lacksAnnotations;
  return !isUnknown && config.session === null && NOTHING.test(config.annotation ?? "");
}

/** Returns the interface of a main plugin. @throws CniError if the configuration has no session */
export function wantedOfMain(invocation: Invocation): RequestedInterface {
  const { config, ifname } = invocation;
  if (config.session === null) {
    const odd = config.unknownFields.map((field) => JSON.stringify(field.slice(0, 50))).join(", ");
    const hint = odd === "" ? "" : ` (unknown fields: ${odd})`;
    const message = `session: missing in network ${config.name}${hint}; set it to an L2tpSession, or chain the plugin after another one`;
    throw new CniError(CniCode.InvalidConfig, message);
  }
  const { mac, ips } = config;
  return { session: qualify(config.session, invocation), ifname, mac, ips };
}

/** Returns the interfaces of a chained plugin, from configuration and annotation. @throws CniError */
export function wantedOfChained(invocation: Invocation): readonly RequestedInterface[] {
  const { config } = invocation;
  const { mac, ips, session } = config;
  const configured =
    session === null ? [] : [{ name: session, interface: config.ifname, mac, ips }];
  const asked = config.annotation === null ? [] : parseAnnotation(config.annotation);
  const all = [...configured, ...asked];
  if (all.length > MAX_SESSIONS) {
    const message = `${ANNOTATION}: ${all.length} sessions; at most ${MAX_SESSIONS} are supported`;
    throw new CniError(CniCode.InvalidConfig, message);
  }
  const wanted = all.map((item, index) => ({
    session: qualify(item.name, invocation),
    ifname: item.interface ?? defaultName(index),
    mac: item.mac,
    ips: item.ips,
  }));
  const names = wanted.map(({ ifname }) => ifname);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice === undefined) return wanted;
  const message = `${ANNOTATION}: two sessions have the interface ${twice}; use different names`;
  throw new CniError(CniCode.InvalidConfig, message);
}

interface Asked {
  readonly name: string;
  readonly interface: string | null;
  readonly mac: string | null;
  readonly ips: readonly string[];
}

const bad = (what: string): CniError => {
  const message = `annotation ${ANNOTATION}: ${what}; use NAME, NAME@INTERFACE, a comma-separated list of these, or JSON`;
  return new CniError(CniCode.InvalidConfig, message);
};

/** @param text "lan", "lan@net1, wan", or a JSON list of objects with name, interface, mac, ips */
export function parseAnnotation(text: string): Asked[] {
  const trimmed = text.trim();
  if (trimmed === "") return [];
  if (trimmed.startsWith("[") || trimmed.startsWith("{")) return parseJson(trimmed);
  return trimmed.split(",").map((part) => {
    const match = /^([^@\s]+)(?:@([^@\s]+))?$/.exec(part.trim());
    if (match === null) throw bad(`${JSON.stringify(part.slice(0, 100))} is not a session`);
    return check({ name: match[1], interface: match[2] });
  });
}

function parseJson(text: string): Asked[] {
  let items: unknown;
  try {
    items = JSON.parse(text);
  } catch (error) {
    throw bad((error as Error).message);
  }
  return (Array.isArray(items) ? items : [items]).map((item) => {
    if (typeof item !== "object" || item === null) throw bad("an entry is not an object");
    return check(item as Record<string, unknown>);
  });
}

function check(item: Record<string, unknown>): Asked {
  const field = (name: string, pattern: RegExp): string | null => {
    const value = item[name];
    if (value === undefined || value === null) return null;
    if (typeof value === "string" && pattern.test(value)) return value;
    throw bad(`${name} ${JSON.stringify(value)?.slice(0, 100)} is invalid`);
  };
  // No slash: a pod must not use sessions of other namespaces.
  const name = field("name", FORMS.label);
  if (name === null) throw bad("an entry has no name");
  return {
    name,
    interface: field("interface", FORMS.ifname),
    mac: field("mac", FORMS.mac),
    ips: strings(item.ips, `annotation ${ANNOTATION}: ips`),
  };
}
