/** Reads and checks what the runtime passes: environment and network configuration. */
import { ANNOTATION, CNI_VERSIONS, DEFAULT_SOCKET, FORMS } from "../operator/agent-protocol.ts";
import { CniCode, CniError } from "./errors.ts";
import { configuredDns, type Dns } from "./ipam.ts";
import { FIELDS, STANDARD_FIELDS } from "./schema.ts";

export const NEWEST = "1.1.0";

const COMMANDS = ["ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION"] as const;
export type Command = (typeof COMMANDS)[number];

export type Environment = Readonly<Record<string, string | undefined>>;
type Json = Readonly<Record<string, unknown>>;

/** Capability by which containerd and CRI-O pass the pod's annotations. */
const POD_ANNOTATIONS = "io.kubernetes.cri.pod-annotations";

/** The checked network configuration. */
export interface Config {
  readonly cniVersion: string;
  readonly name: string;
  readonly socket: string;
  /** The configured session, "lan" or "shop/lan"; null if only pods name sessions. */
  readonly session: string | null;
  /** Namespace of `session` if the runtime passes no pod name. */
  readonly namespace: string;
  /** Interface name for a chained plugin. A main plugin uses CNI_IFNAME. */
  readonly ifname: string | null;
  /** Type of the IPAM plugin; null: no IPAM. */
  readonly ipam: string | null;
  readonly mac: string | null;
  /** Addresses of the `ips` capability or argument. */
  readonly ips: readonly string[];
  readonly prevResult: Json | null;
  /** DNS settings for the result; undefined: those of IPAM. */
  readonly dns: Dns | undefined;
  readonly annotation: string | null;
  /** True if the runtime passes the pod's annotations, with or without `l2tp.dev/sessions`. */
  readonly hasAnnotations: boolean;
  /** True if the configuration requests the pod's annotations, and the runtime does not pass them. */
  readonly lacksAnnotations: boolean;
  /** Fields that may be misspelled. */
  readonly unknownFields: readonly string[];
  /** Only with GC. */
  readonly validAttachments: readonly { containerID: string; ifname: string }[] | null;
}

/** One call of the plugin. */
export interface Invocation {
  readonly command: Command;
  readonly containerId: string;
  readonly netns: string;
  readonly ifname: string;
  /** "namespace/name" of the pod, from CNI_ARGS. */
  readonly pod: string | null;
  /** The pod's UID, if the runtime passes it. */
  readonly podUid: string | null;
  readonly path: readonly string[];
  readonly config: Config;
  /** Unchanged, for delegated plugins. */
  readonly stdin: string;
  readonly environment: Environment;
}

/** Variables that each command requires (CNI specification, section 2). */
const NEEDS: Readonly<Record<Command, readonly string[]>> = {
  ADD: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
  // No CNI_NETNS: a deleted network namespace has no path.
  DEL: ["CNI_CONTAINERID", "CNI_IFNAME"],
  CHECK: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
  STATUS: [],
  GC: [],
  VERSION: [],
};

const PATTERNS: Readonly<Record<string, RegExp>> = {
  CNI_CONTAINERID: FORMS.containerId,
  CNI_NETNS: FORMS.netns,
  CNI_IFNAME: FORMS.ifname,
};

const EXAMPLES: Readonly<Record<string, string>> = {
  CNI_CONTAINERID: "4f9a1c",
  CNI_NETNS: "/run/netns/pod",
  CNI_IFNAME: "net1 (at most 15 letters, digits, _, . and -)",
};

/** Version that introduced a command. All supported versions have the other commands. */
export const SINCE: Partial<Record<Command, (typeof CNI_VERSIONS)[number]>> = {
  CHECK: "0.4.0",
  STATUS: "1.1.0",
  GC: "1.1.0",
};

/** Returns CNI_COMMAND. @throws CniError */
export function readCommand(environment: Environment): Command {
  const command = environment.CNI_COMMAND ?? "";
  if ((COMMANDS as readonly string[]).includes(command)) return command as Command;
  const message = `CNI_COMMAND: ${JSON.stringify(command)}: must be one of ${COMMANDS.join(", ")}`;
  throw new CniError(CniCode.InvalidEnvironment, message);
}

/** Reads and checks the environment and the configuration on stdin. @throws CniError */
export function readInvocation(
  command: Command,
  environment: Environment,
  stdin: string,
): Invocation {
  const config = readConfig(stdin);
  for (const name of NEEDS[command]) {
    const value = environment[name] ?? "";
    if (PATTERNS[name]?.test(value)) continue;
    const what = value === "" ? "missing" : `${JSON.stringify(value.slice(0, 100))}: invalid`;
    const remedy = `the container runtime must set it, as in ${EXAMPLES[name]}`;
    throw new CniError(CniCode.InvalidEnvironment, `${name}: ${what}; ${remedy}`);
  }
  const since = SINCE[command];
  if (since !== undefined && orderOf(config.cniVersion) < orderOf(since)) {
    const message = `${command} requires cniVersion ${since} or later, not ${config.cniVersion}`;
    throw new CniError(CniCode.IncompatibleVersion, message);
  }
  return {
    command,
    containerId: environment.CNI_CONTAINERID ?? "",
    netns: environment.CNI_NETNS ?? "",
    ifname: environment.CNI_IFNAME ?? "",
    ...readPod(environment.CNI_ARGS ?? ""),
    path: (environment.CNI_PATH ?? "").split(":").filter((part) => part !== ""),
    config,
    stdin,
    environment,
  };
}

const orderOf = (version: string): number => (CNI_VERSIONS as readonly string[]).indexOf(version);

/** @param args CNI_ARGS, "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0;…" */
function readPod(args: string): { pod: string | null; podUid: string | null } {
  const fields = new Map(
    args.split(";").map((part) => part.split("=", 2) as [string, string | undefined]),
  );
  const namespace = fields.get("K8S_POD_NAMESPACE");
  const name = fields.get("K8S_POD_NAME");
  const pod = namespace && name ? `${namespace}/${name}` : null;
  return { pod, podUid: fields.get("K8S_POD_UID") ?? null };
}

function object(value: unknown, path: string): Json {
  if (value === undefined || value === null) return {};
  if (typeof value === "object" && !Array.isArray(value)) return value as Json;
  throw new CniError(CniCode.InvalidConfig, `${path}: must be an object`);
}

/** @param expected describes a valid value; @returns null if the field is not set */
function string(json: Json, field: string, pattern: RegExp, expected: string): string | null {
  const value = json[field];
  if (value === undefined || value === null || value === "") return null;
  if (typeof value === "string" && pattern.test(value)) return value;
  const shown = JSON.stringify(value)?.slice(0, 100);
  throw new CniError(CniCode.InvalidConfig, `${field}: ${shown}: must be ${expected}`);
}

function own(json: Json, field: keyof typeof FIELDS): string | null {
  const { form, expected } = FIELDS[field];
  return string(json, field, form, expected);
}

function readConfig(stdin: string): Config {
  let json: Json;
  try {
    json = object(JSON.parse(stdin), "the network configuration");
  } catch (error) {
    if (error instanceof CniError) throw error;
    const message = `the network configuration on stdin is not JSON: ${(error as Error).message}`;
    throw new CniError(CniCode.DecodingFailure, message);
  }
  // The specification defines 0.1.0 as the default.
  const cniVersion = String(json.cniVersion ?? "0.1.0");
  if (!(CNI_VERSIONS as readonly string[]).includes(cniVersion)) {
    const message = `unsupported cniVersion ${JSON.stringify(cniVersion)}; supported: ${CNI_VERSIONS.join(", ")}`;
    throw new CniError(CniCode.IncompatibleVersion, message);
  }
  const runtime = object(json.runtimeConfig, "runtimeConfig");
  const args = object(object(json.args, "args").cni, "args.cni");
  const annotations = object(runtime[POD_ANNOTATIONS], POD_ANNOTATIONS);
  const wantsAnnotations = object(json.capabilities, "capabilities")[POD_ANNOTATIONS] === true;
  return {
    cniVersion,
    name: string(json, "name", FORMS.network, "the name of the network") ?? missing("name"),
    socket: own(json, "socket") ?? DEFAULT_SOCKET,
    session: own(json, "session"),
    namespace: own(json, "namespace") ?? "default",
    unknownFields: Object.keys(json).filter((field) => !KNOWN.has(field)),
    ifname: own(json, "interface"),
    ipam: string(object(json.ipam, "ipam"), "type", /^[^/]+$/, "the name of an IPAM plugin"),
    mac: own(runtime, "mac") ?? own(args, "mac") ?? own(json, "mac"),
    ips: strings(runtime.ips ?? args.ips, "ips"),
    prevResult: json.prevResult === undefined ? null : object(json.prevResult, "prevResult"),
    dns: isEmpty(json.dns) ? undefined : configuredDns(json.dns),
    lacksAnnotations: wantsAnnotations && runtime[POD_ANNOTATIONS] === undefined,
    annotation: string(annotations, ANNOTATION, /^[^\0]*$/, "a list of sessions"),
    hasAnnotations: runtime[POD_ANNOTATIONS] !== undefined,
    validAttachments: readValid(json["cni.dev/valid-attachments"]),
  };
}

/** Runtimes pass an empty object if the plugin list has no `dns`. */
function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

/** Fields of the specification, of libcni, and of this plugin. */
const KNOWN = new Set([
  ...["cniVersion", "cniVersions", "name", "args", "ipMasq", "dns", "prevResult", "runtimeConfig"],
  ...["disableCheck", "disableGC", "loadOnlyInlinedPlugins", "cni.dev/valid-attachments"],
  ...Object.keys(STANDARD_FIELDS),
  ...Object.keys(FIELDS),
]);

function missing(field: string): never {
  throw new CniError(CniCode.InvalidConfig, `${field}: missing in the network configuration`);
}

/** Returns a list of strings; an empty list if the value is not set. @throws CniError that names `path` */
export function strings(value: unknown, path: string): readonly string[] {
  if (value === undefined || value === null) return [];
  if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
  throw new CniError(CniCode.InvalidConfig, `${path}: must be a list of strings`);
}

function readValid(value: unknown): Config["validAttachments"] {
  if (value === undefined) return null;
  const isValid =
    Array.isArray(value) &&
    value.every(
      (item) => typeof item?.containerID === "string" && typeof item?.ifname === "string",
    );
  if (isValid) return value;
  const message =
    "cni.dev/valid-attachments: must be a list of objects with containerID and ifname";
  throw new CniError(CniCode.InvalidConfig, message);
}
