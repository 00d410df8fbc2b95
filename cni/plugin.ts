/** Runs the commands of the CNI specification. */
import { type Attached, CNI_VERSIONS } from "../operator/agent-protocol.ts";
import { AgentConnection, AgentDownError } from "./agent.ts";
import {
  type Command,
  type Environment,
  type Invocation,
  NEWEST,
  readCommand,
  readInvocation,
} from "./config.ts";
import { type Delegate, delegate, startDelegate } from "./delegate.ts";
import { CniCode, CniError, toCniError } from "./errors.ts";
import { type IpamResult, ipamRoutes, parseIpamResult } from "./ipam.ts";
import { addResult, listedIn } from "./result.ts";
import {
  asksForNothing,
  isChained,
  isMainForm,
  type RequestedInterface,
  wantedOfChained,
  wantedOfMain,
} from "./wanted.ts";

/** The output on stdout, and the exit status. */
export interface Outcome {
  readonly stdout: string;
  readonly status: 0 | 1;
}

/** Runs one command. Never rejects: every error is an outcome. */
export async function run(environment: Environment, readStdin: () => string): Promise<Outcome> {
  let cniVersion: string = NEWEST;
  try {
    const command = readCommand(environment);
    const stdin = readStdin();
    if (command === "VERSION") return { stdout: version(stdin), status: 0 };
    const invocation = readInvocation(command, environment, stdin);
    cniVersion = invocation.config.cniVersion;
    const alone = answerAlone(command, invocation);
    if (alone !== null) return { stdout: alone, status: 0 };
    const agent = new AgentConnection(invocation.config.socket);
    try {
      return { stdout: await HANDLERS[command](invocation, agent), status: 0 };
    } finally {
      agent.close();
    }
  } catch (error) {
    const { code, message, details } = toCniError(error);
    const body = { cniVersion, code, msg: message, ...(details === "" ? {} : { details }) };
    return { stdout: `${JSON.stringify(body, null, 2)}\n`, status: 1 };
  }
}

/** Answers VERSION with the cniVersion of the request if it can be read, else with the newest. */
function version(stdin: string): string {
  let asked: unknown;
  try {
    asked = (JSON.parse(stdin) as { cniVersion?: unknown } | null)?.cniVersion;
  } catch {
    asked = undefined;
  }
  const cniVersion = typeof asked === "string" && asked !== "" ? asked : NEWEST;
  return `${JSON.stringify({ cniVersion, supportedVersions: CNI_VERSIONS })}\n`;
}

type Handler = (invocation: Invocation, agent: AgentConnection) => Promise<string>;

const HANDLERS: Readonly<Record<"ADD" | "DEL" | "CHECK" | "STATUS" | "GC", Handler>> = {
  ADD: (invocation, agent) =>
    isChained(invocation.config) ? addChained(invocation, agent) : addMain(invocation, agent),
  DEL: del,
  CHECK: check,
  STATUS: status,
  GC: gc,
};

/**
 * Returns the answer if it needs no agent; null: the agent must be asked. If STATUS fails, the runtime
 * reports the node as NotReady, and Kubernetes evicts every pod of the node. So STATUS of a chained plugin
 * always succeeds; its ADD fails if it needs the agent.
 */
function answerAlone(command: Command, invocation: Invocation): string | null {
  const { config } = invocation;
  if (command === "STATUS" && !isMainForm(config)) return "";
  if (command !== "ADD" || config.ipam !== null || !asksForNothing(invocation)) return null;
  return print(addResult(config, config.prevResult, []));
}

/** Returns the invocation with the pod's annotation. The agent reads it if the runtime does not pass it. */
async function completed(invocation: Invocation, agent: AgentConnection): Promise<Invocation> {
  const { config, pod, podUid: uid } = invocation;
  if (!config.lacksAnnotations || pod === null) return invocation;
  const annotation = await agent.ask({ op: "annotation", pod, uid });
  return { ...invocation, config: { ...config, annotation } };
}

const print = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

async function addMain(invocation: Invocation, agent: AgentConnection): Promise<string> {
  const { config } = invocation;
  const wanted = wantedOfMain(invocation);
  const attached =
    config.ipam === null
      ? await attach(invocation, agent, wanted, false)
      : await addWithIpam(config.ipam, invocation, agent, wanted);
  return print(addResult(config, null, [attached]));
}

/** Creates the interface and sets it up before it calls IPAM, because `dhcp` sends through the interface. */
async function addWithIpam(
  type: string,
  invocation: Invocation,
  agent: AgentConnection,
  wanted: RequestedInterface,
): Promise<Attached> {
  // The plugin loads while the agent creates the interface.
  const plugin = startDelegate(type, "ADD", invocation);
  const made = await attach(invocation, agent, wanted, true).catch((error) => {
    plugin.cancel();
    throw error;
  });
  if (made.isComplete) {
    plugin.cancel();
    return made;
  }
  try {
    const ipam = await allocate(type, plugin, invocation);
    try {
      return await configure(invocation, agent, wanted, ipam);
    } catch (error) {
      // Release the addresses. An error of the rollback must not hide the first error.
      await delegate(type, "DEL", invocation).catch(() => {});
      throw error;
    }
  } catch (error) {
    await agent.askOrDefer(detachOf(invocation)).catch(() => {});
    throw error;
  }
}

async function configure(
  { containerId, ifname: cniIfname }: Invocation,
  agent: AgentConnection,
  { ifname, ips }: RequestedInterface,
  ipam: IpamResult,
): Promise<Attached> {
  const allocated = ipam.ips.map(({ address }) => address);
  return agent.ask({
    op: "configure",
    containerId,
    cniIfname,
    ifname,
    // IPAM receives the requested `ips`. If it returns no addresses, they are applied as requested.
    addresses: allocated.length > 0 ? allocated : ips,
    routes: ipamRoutes(ipam),
    ipam: { ...ipam },
  });
}

async function allocate(
  type: string,
  plugin: Delegate,
  invocation: Invocation,
): Promise<IpamResult> {
  try {
    return parseIpamResult(type, await plugin.run());
  } catch (error) {
    if (!(error instanceof CniError)) throw error;
    // An interrupted ADD may have left an allocation that the agent does not know. Release it and retry.
    await delegate(type, "DEL", invocation).catch(() => {});
  }
  try {
    return parseIpamResult(type, await delegate(type, "ADD", invocation));
  } catch (error) {
    await delegate(type, "DEL", invocation).catch(() => {});
    throw error;
  }
}

/** Returns the request that deletes everything that an ADD created. */
function detachOf({ containerId, ifname: cniIfname, netns }: Invocation) {
  return { op: "detach", containerId, cniIfname, netns: netns === "" ? null : netns } as const;
}

async function attach(
  invocation: Invocation,
  agent: AgentConnection,
  { session, ifname, mac, ips }: RequestedInterface,
  awaitsIpam: boolean,
): Promise<Attached> {
  const { containerId, ifname: cniIfname, netns, pod, config } = invocation;
  const request = {
    op: "attach",
    containerId,
    cniIfname,
    netns,
    pod,
    session,
    ifname,
    network: config.name,
    mac,
    awaitsIpam,
    ipamType: config.ipam,
    addresses: awaitsIpam ? [] : ips,
    routes: [],
    ipam: null,
  } as const;
  try {
    return await agent.ask(request);
  } catch (error) {
    // The agent may have stopped half-way. It must undo that before anything else.
    const mayBePartial = error instanceof AgentDownError && error.heard;
    if (mayBePartial) agent.defer(detachOf(invocation));
    throw error;
  }
}

async function addChained(invocation: Invocation, agent: AgentConnection): Promise<string> {
  const { config } = invocation;
  if (config.ipam !== null) {
    const message = `ipam: not supported when chained; omit ipam, or set "ips" for each session in the annotation`;
    throw new CniError(CniCode.InvalidConfig, message);
  }
  const done: Attached[] = [];
  try {
    for (const wanted of wantedOfChained(await completed(invocation, agent))) {
      done.push(await attach(invocation, agent, wanted, false));
    }
  } catch (error) {
    if (done.length > 0) await agent.askOrDefer(detachOf(invocation)).catch(() => {});
    throw error;
  }
  return print(addResult(config, config.prevResult, done));
}

async function del(invocation: Invocation, agent: AgentConnection): Promise<string> {
  const { config } = invocation;
  // IPAM first: `dhcp` releases its lease through the interface.
  const released =
    config.ipam === null ? null : await delegate(config.ipam, "DEL", invocation).catch(asError);
  await detach(invocation, agent);
  if (released instanceof Error) throw released;
  return "";
}

const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(`${error}`));
const isAway = (error: unknown): boolean => toCniError(error).code === CniCode.TryAgainLater;

/** Does not defer the DEL of a pod without sessions: on a node without an agent that would fill /run. */
async function detach(invocation: Invocation, agent: AgentConnection): Promise<void> {
  const request = detachOf(invocation);
  const hadNothing = invocation.config.hasAnnotations && asksForNothing(invocation);
  if (!hadNothing) return agent.askOrDefer(request);
  await agent.ask(request).catch((error: unknown) => {
    if (!isAway(error)) throw error;
  });
}

/** Waits for all tasks, even if one fails. @throws the first error */
async function allOf(tasks: readonly (Promise<unknown> | null)[]): Promise<void> {
  for (const outcome of await Promise.allSettled(tasks)) {
    if (outcome.status === "rejected") throw outcome.reason;
  }
}

async function check(invocation: Invocation, agent: AgentConnection): Promise<string> {
  const { config, containerId, ifname: cniIfname } = invocation;
  if (config.prevResult === null) {
    throw new CniError(CniCode.InvalidConfig, "prevResult: required for CHECK");
  }
  const listed = listedIn(config.prevResult);
  const made = await agent
    .ask({ op: "check", containerId, cniIfname, ...listed })
    .catch((error: unknown): readonly string[] => {
      if (isAway(error) && asksForNothing(invocation)) return [];
      throw error;
    });
  const isMain = config.session !== null && made.includes(cniIfname);
  // An annotation without sessions has no interfaces.
  const missing = isMain
    ? undefined
    : wantedOfChained(await completed(invocation, agent)).find(
        ({ ifname }) => !made.includes(ifname),
      )?.ifname;
  if (missing !== undefined) {
    const message = `container ${containerId}: interface ${missing} is not attached; delete the pod to recreate it`;
    throw new CniError(CniCode.UnknownContainer, message);
  }
  if (config.ipam !== null) await delegate(config.ipam, "CHECK", invocation);
  return "";
}

async function status({ config, ...invocation }: Invocation, agent: AgentConnection) {
  try {
    await agent.ask({ op: "ready" });
  } catch (error) {
    const { message, details } = toCniError(error);
    throw new CniError(CniCode.NotAvailable, message, details);
  }
  if (config.ipam !== null) await delegate(config.ipam, "STATUS", { config, ...invocation });
  return "";
}

async function gc(invocation: Invocation, agent: AgentConnection): Promise<string> {
  const { config } = invocation;
  if (config.validAttachments === null) {
    throw new CniError(CniCode.InvalidConfig, "cni.dev/valid-attachments: required for GC");
  }
  const valid = config.validAttachments.map(({ containerID, ifname }) => ({
    containerId: containerID,
    cniIfname: ifname,
  }));
  const before = new Date().toISOString();
  await allOf([
    agent.askOrDefer({ op: "gc", network: config.name, valid, before }),
    config.ipam === null ? null : delegate(config.ipam, "GC", invocation),
  ]);
  return "";
}
