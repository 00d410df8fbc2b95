/**
 * The agent of a node. Level-triggered: the same pass at start, on a change of the objects, on a link
 * event, when the datapath was lost, and every few seconds.
 */
import type { Logger } from "pino";
import type { Listing } from "../../datapath/datapath.ts";
import { l2tpNotifications, withoutKernel } from "../../datapath/kernel/support.ts";
import { traitsOf } from "../../datapath/registry/datapaths.ts";
import { DatapathClient } from "../../datapath/userspace/client.ts";
import { monitorNode } from "../../linux/netlink/monitor.ts";
import { attachmentKey } from "../../model/attachments/index.ts";
import type { BoundDevice, Session } from "../../model/model.ts";
import { nodePaths } from "../../underlay/index.ts";
import { AgentError } from "../agent-error.ts";
import type { CniCall } from "../agent-protocol.ts";
import { TEARDOWN_REASONS } from "../api/placement.ts";
import { type DatapathContext, mayNeedKernel } from "../resolve/datapaths.ts";
import type { Spared } from "../resolve/desired.ts";
import { pathMtuNow } from "../resolve/ends.ts";
import { type HeldObjects, heldAfter, type Unreadable } from "../resolve/held.ts";
import {
  describeRejection,
  type Intake,
  isIdentified,
  type Rejection,
  takeIn,
} from "../resolve/intake.ts";
import { localPrefixes } from "../resolve/keyed.ts";
import type { Refusal } from "../resolve/refusal.ts";
import { resolve, yieldToSpared } from "../resolve/resolve.ts";
import type { Resolved, ResolvedTunnel } from "../resolve/resolved.ts";
import type { Failures } from "../resolve/status.ts";
import { tunnelNamer } from "../resolve/tunnel-names.ts";
import type { ObjectSource, StatusSink } from "../sources/source.ts";
import { Attacher, type AttachStep } from "./attach.ts";
import { AttachmentStore } from "./attachments.ts";
import { ControlWatch } from "./control-watch.ts";
import { Datapaths } from "./datapaths.ts";
import { DeferredRequests } from "./deferred.ts";
import { aboutNode } from "./findings/node.ts";
import { heldMtus, recordMtus } from "./given-mtus.ts";
import { Mutex } from "./mutex.ts";
import { Node } from "./node.ts";
import type { PassState } from "./pass-state.ts";
import { PassWaiters } from "./pass-waiters.ts";
import { statusInputs } from "./report.ts";

export interface AgentOptions {
  /** Ours; a datapath that is found running may have another. */
  readonly version: string;
  readonly nodeName: string;
  readonly source: ObjectSource;
  readonly stateFolder: string;
  /** Folders of deferred requests: the plugin's, and those of earlier versions. */
  readonly deferred: readonly string[];
  readonly datapathSocket: string;
  /** Whether a datapath that does not run is started, or waited for. */
  readonly startsDatapath: boolean;
  /** The value of spec.datapath for tunnels that leave it open; null: the first datapath that can. */
  readonly datapath: string | null;
  /** Between two periodic passes. */
  readonly resyncMs: number;
  readonly log: Logger;
  reached(step: AttachStep): void;
}

/** Changes come in bursts: an editor writes a file in several steps. */
const SETTLE_MS = 50;
/** Most of what links do is our own doing; what somebody else did can wait as long as status can. */
const LINK_SETTLE_MS = 1000;
const FIRST_RETRY_MS = 250;
/** A request waits so long for the first objects: longer than a start takes, and shorter than runtimes wait. */
const FIRST_READ_MS = 10_000;

/** Explains an unreadable attachment, and names the remedy. */
const SPARED =
  "the sessions that it may be about are left as they are; delete its pod, or delete the file if the pod is gone";

export class Agent {
  readonly attacher: Attacher;
  readonly store: AttachmentStore;
  readonly node: Node;
  readonly #options: AgentOptions;
  readonly #datapath: DatapathClient;
  readonly #datapaths: Datapaths;
  readonly #control: ControlWatch;
  readonly #deferred: DeferredRequests;
  readonly #mutex = new Mutex();
  readonly #passes = new PassWaiters();
  #state: PassState | null = null;
  /** Why the last pass came to nothing; empty: it did not. */
  #obstacle = "";
  #timer: NodeJS.Timeout | null = null;
  #datapathVersion = "";
  /** When the timer is to fire, by performance.now(). */
  #due = 0;
  #retryMs = FIRST_RETRY_MS;
  #stopped = false;
  #reported = new Set<string>();
  #isHoldReported = false;
  #statusErrors: ReadonlySet<string> = new Set();
  readonly #closers: (() => void)[] = [];

  constructor(options: AgentOptions) {
    const { stateFolder, log, nodeName } = options;
    this.#options = options;
    this.#datapath = new DatapathClient(options.datapathSocket);
    this.store = new AttachmentStore(stateFolder);
    this.#datapaths = new Datapaths(this.#datapath);
    this.#control = new ControlWatch(
      () => this.#datapath.turns(),
      () => this.trigger(0),
    );
    this.node = new Node(nodeName, this.#datapaths, this.store);
    this.attacher = new Attacher({
      nodeName,
      node: this.node,
      store: this.store,
      resolved: () => this.#state?.resolved ?? null,
      pass: async () => (await this.#pass()).failures,
      pathMtu: (tunnel) => this.#pathMtu(tunnel),
      reached: options.reached,
    });
    this.#deferred = new DeferredRequests(options.deferred, {
      carryOut: (request) =>
        request.op === "detach"
          ? this.attacher.detach(request)
          : this.attacher.gc(request.network, request.valid, request.before),
      failed: (path, error) =>
        log.warn({ path }, `a deferred request is tried again: ${(error as Error).message}`),
      dropped: (path, error) =>
        log.warn({ path }, `not a deferred request, dropped: ${(error as Error).message}`),
    });
  }

  get nodeName(): string {
    return this.#options.nodeName;
  }

  get source(): ObjectSource {
    return this.#options.source;
  }

  get folder(): string | null {
    return this.source.folder;
  }

  get status(): StatusSink {
    return this.source.status;
  }

  get log(): Logger {
    return this.#options.log;
  }

  get state(): PassState | null {
    return this.#state;
  }

  /** Converges once, and from then on whenever there is a reason. */
  async start(): Promise<void> {
    this.#closers.push(this.source.watch(() => this.trigger(SETTLE_MS)));
    await this.run(() => this.#passOrLog());
    const monitor = monitorNode(l2tpNotifications(), () => this.trigger(LINK_SETTLE_MS));
    this.#closers.push(() => monitor.close());
  }

  stop(): void {
    this.#stopped = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#control.stop();
    for (const close of this.#closers) close();
    this.node.close();
  }

  /** Runs alone: no pass and no other request meanwhile. */
  run<T>(task: () => Promise<T>): Promise<T> {
    return this.#mutex.run(task);
  }

  /** A pass soon; those asked for until then are the same one, and do not put it off. */
  trigger(delayMs: number): void {
    if (this.#stopped) return;
    const due = performance.now() + delayMs;
    if (this.#timer !== null && this.#due <= due) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      void this.run(() => this.#passOrLog());
    }, delayMs);
  }

  /**
   * Waits some seconds until the objects have been read for the first time: a request in the first moments of an agent
   * is one like any other. Must not be called by who runs alone.
   * @param session the session that is asked for, which what was kept for a restart may not have; null: none
   * @throws AgentError NotReady
   */
  async awaitObjects(session: string | null): Promise<void> {
    if (await this.#passes.until(() => this.#hasRead(session), FIRST_READ_MS)) return;
    const what = this.#state === null ? "its objects" : `L2tpSession ${session}`;
    const why = this.#obstacle === "" ? "" : `: ${this.#obstacle}`;
    throw new AgentError("NotReady", `the agent has not read ${what} yet${why}`, "try again");
  }

  #hasRead(session: string | null): boolean {
    if (this.#state === null) return false;
    if (session === null || this.source.isWhole) return true;
    const { sessions, refusedSessions } = this.#state.resolved;
    return sessions.has(session) || refusedSessions.has(session);
  }

  /** Carries out what the plugin could not ask. */
  carryOutDeferred(): Promise<void> {
    return this.#deferred.carryOut();
  }

  /**
   * True while a DEL of the call is deferred: until it is done, no ADD of the same container may
   * run.
   */
  isLeaving(call: CniCall): boolean {
    return this.#deferred.isLeaving(call);
  }

  /** @throws ConnectionError where the datapath process is needed, and does not answer */
  async requireDatapath(): Promise<void> {
    if (needsProcess(this.#state?.resolved)) await this.#datapath.hello();
    await this.listDatapath();
  }

  async listDatapath(): Promise<Listing> {
    return this.node.look();
  }

  /**
   * Takes everything of ours from the node, and ends the datapath process. Attachments whose interfaces
   * are gone are forgotten. @returns how many changes that took, and what could not be done
   */
  teardown(): Promise<{ readonly actions: number; readonly failures: Failures }> {
    this.#stopped = true;
    this.#control.stop();
    return this.run(async () => {
      for (const attachment of [...this.store.all()]) {
        this.store.putIfPossible({ ...attachment, leaving: true });
      }
      const nothing = { tunnels: new Map(), sessions: new Map() };
      const spared: Spared = { tunnels: () => false, sessions: () => false };
      const observation = await this.node.observe(() => undefined);
      const { actions, failures } = await this.node.converge(nothing, spared, observation);
      this.node.routePrefixes(new Set());
      this.#forgetLeft(failures);
      if (failures.size === 0) this.store.removeUnreadable();
      this.source.forget();
      await this.#datapath.shutdown();
      return { actions: actions.length, failures };
    });
  }

  async #passOrLog(): Promise<void> {
    if (this.#stopped) return;
    let quiet = false;
    try {
      const { failures } = await this.#pass();
      quiet = failures.size === 0;
      await this.carryOutDeferred();
    } catch (error) {
      this.#reportFailedPass(error);
    }
    const delay = quiet ? this.#options.resyncMs : this.#retryMs;
    this.#retryMs = quiet ? FIRST_RETRY_MS : Math.min(this.#retryMs * 2, this.#options.resyncMs);
    // Nodes must not all wake at once.
    this.trigger(delay * (0.75 + Math.random() / 2));
  }

  async #pass(): Promise<PassState> {
    const { nodeName, source } = this.#options;
    const started = performance.now();
    this.store.recheck();
    const { intake, rejections, unknown, withdrawn, held } = await this.#read();
    const namer = tunnelNamer(intake, nodeName, this.node.tunnelNames);
    const observation = await this.node.observe(namer, this.#unlabelled(intake));
    const { listing } = observation;
    const programmed = {
      tunnels: new Map(listing.tunnels.map(({ tunnel }) => [tunnel.name, tunnel.tunnelId])),
      kernelTunnels: new Set(
        listing.tunnels.flatMap(({ tunnel: { name, datapath } }) =>
          traitsOf(datapath).ports === "shared" ? [] : name,
        ),
      ),
      sessions: new Map(listing.sessions.map(({ session }) => [session.key, this.#idOf(session)])),
      devices: boundDevices(listing),
      remoteEndIds: remoteEndIds(listing),
    };
    // Their IDs are nobody else's concern.
    const keyed = new Set(
      listing.sessions.flatMap(({ session: { key, deviceId } }) =>
        deviceId === undefined ? [] : key,
      ),
    );
    const prefixes = localPrefixes(intake.tunnels.values(), nodeName);
    // A tunnel that goes, or whose manifest is broken, has its prefix as long as it runs.
    for (const { tunnel } of listing.tunnels) {
      if (tunnel.localPrefix !== undefined) prefixes.add(tunnel.localPrefix);
    }
    const prefixProblems = this.node.routePrefixes(prefixes);
    const unreadable = unreadableBy(rejections, unknown);
    const wanted = resolve(intake, {
      nodeName,
      underlay: nodePaths(this.node.socket),
      secrets: source.secrets,
      datapaths: await this.#datapathContext(intake),
      programmed: { ...programmed, underlayMtus: this.#underlayMtus() },
      held,
      prefixProblems,
      isUnreadable: unreadable,
      heldMtus: heldMtus(observation.living),
    });
    const spared = sparedBy(unreadable, wanted);
    const isSpared = (key: string) => spared.sessions(key) && !keyed.has(key);
    const resolved = yieldToSpared(wanted, programmed, isSpared);
    this.#hold(heldAfter(held, resolved, spared, new Date().toISOString()));
    if (needsProcess(resolved)) await this.#ensureUserspace();
    const { actions, failures } = await this.node.converge(resolved, spared, observation);
    const hasPath = (tunnel: string) => this.#pathMtu(tunnel, resolved) !== null;
    recordMtus(this.store, observation.living, resolved.sessions, hasPath);
    this.#forgetLeft(failures);
    if (this.#state === null) {
      const figures = { tunnels: resolved.tunnels.size, sessions: resolved.sessions.size };
      this.log.info({ node: nodeName, manifests: this.folder, ...figures }, "ready");
    }
    const links =
      actions.length > 0
        ? this.node.presentLinks()
        : new Map(observation.observed.links.map((link) => [link.id, link]));
    const known = { intake, rejections, withdrawn, resolved, failures, programmed };
    this.#state = { ...known, listing, links };
    this.#obstacle = "";
    this.#passes.passed();
    const matters = [...resolved.tunnels.values()].some(
      ({ tunnel }) => tunnel.control !== undefined,
    );
    this.#control.saw(listing, matters);
    this.#writeStatus(spared);
    this.#report(actions.length, failures, Math.round(performance.now() - started));
    return this.#state;
  }

  /** Before anything is programmed: who was first must be known after a crash, too. */
  #hold(held: HeldObjects): void {
    const error = this.source.hold(held);
    if (error === null || this.#isHoldReported) return;
    this.#isHoldReported = true;
    const message = "which object has which ID cannot be written down; it is tried again";
    this.log.error({ err: error }, message);
  }

  /**
   * If an attachment cannot be read, its pod is not looked into; the label on its device is not
   * seen.
   */
  #unlabelled({ sessions }: Intake): ReadonlyMap<number, string> | null {
    if (this.store.unreadable.length === 0) return null;
    return new Map(
      Array.from(sessions).flatMap(([key, { spec }]): [number, string][] =>
        spec.sessionId === undefined ? [] : [[spec.sessionId, key]],
      ),
    );
  }

  /** Nothing else tells what the manifest calls a session of which only what was agreed on is left. */
  #idOf({ key, sessionId }: Session): number {
    const before = this.#state?.resolved.sessions.get(key);
    if (before === undefined) return sessionId;
    const waits = traitsOf(before.tunnel.datapath).waitsForAgreement(before);
    return waits ? before.session.sessionId : sessionId;
  }

  /** Whether the kernel can is nobody's question unless there is a tunnel that may be its. */
  async #datapathContext({ tunnels }: Intake): Promise<DatapathContext> {
    const { datapath, nodeName } = this.#options;
    const matters = [...tunnels.values()].some(
      (object) => object.spec.nodeName === nodeName && mayNeedKernel(object, datapath),
    );
    const kernel = matters
      ? await this.#datapaths.support()
      : withoutKernel("it was not asked for");
    return { preferred: datapath, kernel };
  }

  async #ensureUserspace(): Promise<void> {
    const { log } = this.#options;
    const hello = this.#options.startsDatapath
      ? await this.#datapath.ensureRunning()
      : await this.#datapath.helloIfThere();
    // Its tunnels fail then, each with its own report, and the others go on.
    if (hello === null) return;
    this.#datapathVersion = hello.version;
    if (hello.started) log.info({ datapathPid: hello.pid }, "started the datapath process");
    this.#datapath.onLost = () => {
      log.error("the datapath process is gone; it is started again");
      this.trigger(0);
    };
  }

  /** `unknown`: there are files of which nobody can say what objects they hold. */
  async #read() {
    const found = await this.source.read();
    if (found === null) throw new AgentError("NotReady", "the API server has not answered yet", "");
    const { documents, rejections, withdrawn, held } = found;
    const intake = takeIn(documents);
    return {
      intake,
      withdrawn,
      held,
      rejections: [...rejections, ...intake.rejections],
      unknown: rejections.length > 0 || !intake.rejections.every(isIdentified),
    };
  }

  #pathMtu(tunnel: string, resolved = this.#state?.resolved): number | null {
    const object = resolved?.tunnels.get(tunnel)?.object;
    return object === undefined ? null : pathMtuNow(object, nodePaths(this.node.socket));
  }

  #underlayMtus(): ReadonlyMap<string, number> {
    const tunnels = this.#state?.resolved.tunnels ?? new Map();
    return new Map(Array.from(tunnels, ([name, { underlayMtu }]) => [name, underlayMtu]));
  }

  /** Interfaces that were to go, and now are gone. */
  #forgetLeft(failures: Failures): void {
    for (const attachment of [...this.store.all()]) {
      if (!attachment.leaving || failures.has(`session ${attachment.session}`)) continue;
      this.store.delete(attachmentKey(attachment));
    }
  }

  #writeStatus(spared: Spared): void {
    if (this.#state === null) return;
    const inputs = statusInputs(this.#state, this.store, spared);
    const errors = new Set(this.status.write(inputs).map(({ message }) => message));
    for (const message of errors) {
      if (this.#statusErrors.has(message)) continue;
      this.log.error(`status cannot be written: ${message}; it is tried again`);
    }
    this.#statusErrors = errors;
  }

  /** Said once, until it is said otherwise; with a stack where nobody has thought of it. */
  #reportFailedPass(error: unknown): void {
    const { message, code } = error as { message?: string; code?: unknown };
    this.#obstacle = message ?? String(error);
    if (code === "NotReady") return this.log.info(`waiting: ${message}`);
    const line = `the pass failed: ${message ?? error}; it is tried again`;
    if (this.#reported.has(line)) return;
    this.log.error(typeof code === "string" ? {} : { err: error }, line);
    this.#reported = new Set([line]);
  }

  #aboutDatapath(): string[] {
    const { version } = this.#options;
    if (this.#datapathVersion === "" || this.#datapathVersion === version) return [];
    return [
      `the datapath that runs is of version ${this.#datapathVersion}, the agent of ${version}; end its process when frames may pause, and it is started again`,
    ];
  }

  #aboutNode(): string[] {
    if (this.#state === null) return [];
    const { intake, rejections } = this.#state;
    const { nodeName, folder } = this;
    return aboutNode({ nodeName, folder, intake, rejections }).map(
      ({ finding, remedy }) => `${finding}; ${remedy}`,
    );
  }

  /** One line a change; what is wrong is said once, until it is said otherwise. */
  #report(actions: number, failures: Failures, milliseconds: number): void {
    const { log } = this.#options;
    const figures = { actions, failed: failures.size, milliseconds };
    if (actions > 0) log.info(figures, "converged");
    else log.debug(figures, "nothing to do");
    const lines = [
      ...this.#aboutNode(),
      ...this.#aboutDatapath(),
      ...this.store.unreadable.map(({ path, reason }) => `${path}: ${reason}; ${SPARED}`),
      ...(this.#state?.rejections ?? []).map(describeRejection),
      ...refusals("L2tpTunnel", this.#state?.resolved.refusedTunnels),
      ...refusals("L2tpSession", this.#state?.resolved.refusedSessions),
      ...Array.from(failures, ([object, { message }]) => `${object}: ${message}`),
    ];
    for (const line of lines) if (!this.#reported.has(line)) log.warn(line);
    this.#reported = new Set(lines);
  }
}

/** True if a tunnel of the node needs the datapath process. */
function needsProcess(resolved: Pick<Resolved, "tunnels"> | undefined): boolean {
  const needs = ({ tunnel }: ResolvedTunnel) => traitsOf(tunnel.datapath).needsProcess;
  return [...(resolved?.tunnels.values() ?? [])].some(needs);
}

function refusals(kind: string, refused: ReadonlyMap<string, Refusal> | undefined): string[] {
  return Array.from(refused ?? [], ([key, { message }]) => `${kind} ${key}: ${message}`);
}

/** @param unknown there are documents that may hold any object */
function unreadableBy(rejections: readonly Rejection[], unknown: boolean): Unreadable {
  const keys = new Set(rejections.map(({ kind, key }) => `${kind} ${key}`));
  return {
    tunnels: (name) => unknown || keys.has(`L2tpTunnel ${name}`),
    sessions: (key) => unknown || keys.has(`L2tpSession ${key}`),
  };
}

function boundDevices({ tunnels }: Listing): ReadonlyMap<string, BoundDevice> {
  return new Map(
    tunnels.flatMap(({ tunnel: { name, device } }) =>
      device === undefined ? [] : [[name, device] as const],
    ),
  );
}

/** By which names their peers know the sessions that run. */
function remoteEndIds({ sessions }: Listing): ReadonlyMap<string, string> {
  return new Map(
    sessions.flatMap(({ session: { key, control } }) =>
      control === undefined ? [] : [[key, control.remoteEndId] as const],
    ),
  );
}

/** Selects the objects that keep running although their manifests are broken. */
function sparedBy(unreadable: Unreadable, resolved: Resolved): Spared {
  const isRefused = (refused: ReadonlyMap<string, Refusal>, key: string) => {
    const refusal = refused.get(key);
    return refusal !== undefined && !TEARDOWN_REASONS.has(refusal.reason);
  };
  return {
    tunnels: (name) => unreadable.tunnels(name) || isRefused(resolved.refusedTunnels, name),
    sessions: (key) => unreadable.sessions(key) || isRefused(resolved.refusedSessions, key),
  };
}
