/**
 * The agent of a node. Level-triggered: the same pass runs at start, on a change of the objects, on a link event, after
 * the datapath process was lost, and every few seconds.
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
import type { Retained } from "../resolve/desired.ts";
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
import { keepLastValid, resolve } from "../resolve/resolve.ts";
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
  /** Version of this agent; a running datapath process can have another. */
  readonly version: string;
  readonly nodeName: string;
  readonly source: ObjectSource;
  readonly stateFolder: string;
  /** Folders of deferred requests: the plugin's first, then those of earlier versions. */
  readonly deferred: readonly string[];
  readonly datapathSocket: string;
  /** True: the agent starts the datapath process; false: it waits for the process. */
  readonly startsDatapath: boolean;
  /** Datapath of tunnels with spec.datapath Auto; null: the first that can serve the tunnel. */
  readonly datapath: string | null;
  /** Interval of periodic passes. */
  readonly resyncMs: number;
  readonly log: Logger;
  failpoint(step: AttachStep): void;
}

/** Delay after a change of the objects: an editor writes a file in several steps. */
const SETTLE_MS = 50;
/** Delay after a link event: the agent itself causes most events. */
const LINK_SETTLE_MS = 1000;
const FIRST_RETRY_MS = 250;
/** Maximum wait of a request for the first objects: longer than a start takes, shorter than runtimes wait. */
const FIRST_READ_MS = 10_000;

/** The effect of an unreadable attachment file, and the remedy. */
const SPARED =
  "sessions without a known pod are kept unchanged; delete the pod of the file, or the file if the pod does not exist";

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
  /** The reason why the last pass failed; empty: it did not fail. */
  #obstacle = "";
  #timer: NodeJS.Timeout | null = null;
  #datapathVersion = "";
  /** Time at which the timer fires, by performance.now(). */
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
    this.node = new Node(nodeName, this.#datapaths, this.store, stateFolder);
    this.attacher = new Attacher({
      nodeName,
      node: this.node,
      store: this.store,
      resolved: () => this.#state?.resolved ?? null,
      reconcile: async () => (await this.#reconcile()).failures,
      pathMtu: (tunnel) => this.#pathMtu(tunnel),
      failpoint: options.failpoint,
    });
    this.#deferred = new DeferredRequests(options.deferred, {
      carryOut: (request) =>
        request.op === "detach"
          ? this.attacher.detach(request)
          : this.attacher.gc(request.network, request.valid, request.before),
      failed: (path, error) =>
        log.warn({ path }, `deferred CNI request failed: ${(error as Error).message}; retrying`),
      dropped: (path, error) =>
        log.warn({ path }, `invalid deferred CNI request deleted: ${(error as Error).message}`),
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

  /** Runs the first pass, then watches objects and links. */
  async start(): Promise<void> {
    this.#closers.push(this.source.watch(() => this.trigger(SETTLE_MS)));
    await this.run(() => this.#reconcileOrLog());
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

  /** Runs the task exclusively: no pass and no other request runs meanwhile. */
  run<T>(task: () => Promise<T>): Promise<T> {
    return this.#mutex.run(task);
  }

  /** Schedules a pass. A later trigger joins an earlier one, and does not delay it. */
  trigger(delayMs: number): void {
    if (this.#stopped) return;
    const due = performance.now() + delayMs;
    if (this.#timer !== null && this.#due <= due) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#due = due;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      void this.run(() => this.#reconcileOrLog());
    }, delayMs);
  }

  /**
   * Waits up to FIRST_READ_MS until the objects are loaded, so that requests during the start of the agent succeed.
   * Must not be called from a task of `run`, which would block the pass.
   * @param session the requested session, which the cache of the last run may lack; null: none
   * @throws AgentError NotReady
   */
  async awaitObjects(session: string | null): Promise<void> {
    if (await this.#passes.until(() => this.#hasRead(session), FIRST_READ_MS)) return;
    const what = this.#state === null ? "objects" : `L2tpSession ${session}`;
    const why = this.#obstacle === "" ? "" : `: ${this.#obstacle}`;
    throw new AgentError("NotReady", `agent not ready: ${what} not loaded${why}`, "try again");
  }

  #hasRead(session: string | null): boolean {
    if (this.#state === null) return false;
    if (session === null || this.source.isWhole) return true;
    const { sessions, refusedSessions } = this.#state.resolved;
    return sessions.has(session) || refusedSessions.has(session);
  }

  /** Carries out the plugin's deferred requests. */
  carryOutDeferred(): Promise<void> {
    return this.#deferred.carryOut();
  }

  /** True while a DEL of the call is deferred. No ADD of the same container may run before it. */
  isLeaving(call: CniCall): boolean {
    return this.#deferred.isLeaving(call);
  }

  /** @throws ConnectionError if a tunnel needs the datapath process, and the process does not answer */
  async requireDatapath(): Promise<void> {
    if (needsProcess(this.#state?.resolved)) await this.#datapath.hello();
    await this.listDatapath();
  }

  async listDatapath(): Promise<Listing> {
    return this.node.look();
  }

  /**
   * Deletes everything that l2tp-cni created on the node, and stops the datapath process. Forgets the attachments whose
   * interfaces are deleted. @returns the number of changes, and the failures
   */
  teardown(): Promise<{ readonly actions: number; readonly failures: Failures }> {
    this.#stopped = true;
    this.#control.stop();
    return this.run(async () => {
      for (const attachment of [...this.store.all()]) {
        this.store.putIfPossible({ ...attachment, leaving: true });
      }
      const nothing = { tunnels: new Map(), sessions: new Map() };
      const spared: Retained = { tunnels: () => false, sessions: () => false };
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

  async #reconcileOrLog(): Promise<void> {
    if (this.#stopped) return;
    let quiet = false;
    try {
      const { failures } = await this.#reconcile();
      quiet = failures.size === 0;
      await this.carryOutDeferred();
    } catch (error) {
      this.#reportFailure(error);
    }
    const delay = quiet ? this.#options.resyncMs : this.#retryMs;
    this.#retryMs = quiet ? FIRST_RETRY_MS : Math.min(this.#retryMs * 2, this.#options.resyncMs);
    // Spreads the passes of nodes that started together.
    this.trigger(delay * (0.75 + Math.random() / 2));
  }

  async #reconcile(): Promise<PassState> {
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
    // The IDs of these sessions need not be unique.
    const keyed = new Set(
      listing.sessions.flatMap(({ session: { key, deviceId } }) =>
        deviceId === undefined ? [] : key,
      ),
    );
    const prefixes = localPrefixes(intake.tunnels.values(), nodeName);
    // A programmed tunnel keeps its prefix until it is deleted, even if its manifest is invalid.
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
    const isRetained = (key: string) => spared.sessions(key) && !keyed.has(key);
    const settled = keepLastValid(wanted, programmed, isRetained);
    const resolved = this.node.interfaces.observe(settled);
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

  /** Saves the claims before anything is programmed: they must survive a crash. */
  #hold(held: HeldObjects): void {
    const error = this.source.hold(held);
    if (error === null || this.#isHoldReported) return;
    this.#isHoldReported = true;
    const message = "cannot save which object holds which ID; retrying";
    this.log.error({ err: error }, message);
  }

  /**
   * Returns the keys of sessions by session ID if an attachment is unreadable; else null. The agent does not look into
   * the pod of such an attachment, so it does not see the label of the pod's device.
   */
  #unlabelled({ sessions }: Intake): ReadonlyMap<number, string> | null {
    if (this.store.unreadable.length === 0) return null;
    return new Map(
      Array.from(sessions).flatMap(([key, { spec }]): [number, string][] =>
        spec.sessionId === undefined ? [] : [[spec.sessionId, key]],
      ),
    );
  }

  /** Returns the session ID in the manifest: the datapath lists only the negotiated ID of a managed kernel session. */
  #idOf({ key, sessionId }: Session): number {
    const before = this.#state?.resolved.sessions.get(key);
    if (before === undefined) return sessionId;
    const waits = traitsOf(before.tunnel.datapath).waitsForAgreement(before);
    return waits ? before.session.sessionId : sessionId;
  }

  /** Probes the kernel only if a tunnel of the node may use it. */
  async #datapathContext({ tunnels }: Intake): Promise<DatapathContext> {
    const { datapath, nodeName } = this.#options;
    const matters = [...tunnels.values()].some(
      (object) => object.spec.nodeName === nodeName && mayNeedKernel(object, datapath),
    );
    const kernel = matters
      ? await this.#datapaths.support()
      : withoutKernel("kernel support not probed");
    return { preferred: datapath, kernel };
  }

  async #ensureUserspace(): Promise<void> {
    const { log } = this.#options;
    const hello = this.#options.startsDatapath
      ? await this.#datapath.ensureRunning()
      : await this.#datapath.helloIfThere();
    // Tunnels that need the process fail, each with its own condition; the others continue.
    if (hello === null) return;
    this.#datapathVersion = hello.version;
    if (hello.started) log.info({ datapathPid: hello.pid }, "started the datapath process");
    this.#datapath.onLost = () => {
      log.error("lost the datapath process; reconnecting");
      this.trigger(0);
    };
  }

  /** Reads the objects. `unknown`: some files are unreadable, so their objects are unknown. */
  async #read() {
    const found = await this.source.read();
    if (found === null) throw new AgentError("NotReady", "no answer from the API server yet", "");
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

  /** Deletes the attachments whose interfaces were to be deleted, and are. */
  #forgetLeft(failures: Failures): void {
    for (const attachment of [...this.store.all()]) {
      if (!attachment.leaving || failures.has(`session ${attachment.session}`)) continue;
      this.store.delete(attachmentKey(attachment));
    }
  }

  #writeStatus(spared: Retained): void {
    if (this.#state === null) return;
    const inputs = statusInputs(this.#state, this.store, spared);
    const errors = new Set(this.status.write(inputs).map(({ message }) => message));
    for (const message of errors) {
      if (this.#statusErrors.has(message)) continue;
      this.log.error(`cannot write status: ${message}; retrying`);
    }
    this.#statusErrors = errors;
  }

  /** Logs each distinct message once; with a stack if the error has no code, and so is unexpected. */
  #reportFailure(error: unknown): void {
    const { message, code } = error as { message?: string; code?: unknown };
    this.#obstacle = message ?? String(error);
    if (code === "NotReady") return this.log.info(`waiting: ${message}`);
    const line = `reconcile failed: ${message ?? error}; retrying`;
    if (this.#reported.has(line)) return;
    this.log.error(typeof code === "string" ? {} : { err: error }, line);
    this.#reported = new Set([line]);
  }

  #aboutDatapath(): string[] {
    const { version } = this.#options;
    if (this.#datapathVersion === "" || this.#datapathVersion === version) return [];
    return [
      `the datapath process has version ${this.#datapathVersion}, the agent ${version}; restart the datapath process when frames may pause`,
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

  /** Logs one line a change, and each distinct fault once. */
  #report(actions: number, failures: Failures, milliseconds: number): void {
    const { log } = this.#options;
    const figures = { actions, failed: failures.size, milliseconds };
    if (actions > 0) log.info(figures, "reconciled");
    else log.debug(figures, "no changes");
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

/** @param unknown true if unreadable documents may define any object */
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

/** Returns the Remote End IDs of programmed sessions, by key. */
function remoteEndIds({ sessions }: Listing): ReadonlyMap<string, string> {
  return new Map(
    sessions.flatMap(({ session: { key, control } }) =>
      control === undefined ? [] : [[key, control.remoteEndId] as const],
    ),
  );
}

/** Selects the objects that stay programmed although their manifests are invalid or unreadable. */
function sparedBy(unreadable: Unreadable, resolved: Resolved): Retained {
  const isRefused = (refused: ReadonlyMap<string, Refusal>, key: string) => {
    const refusal = refused.get(key);
    return refusal !== undefined && !TEARDOWN_REASONS.has(refusal.reason);
  };
  return {
    tunnels: (name) => unreadable.tunnels(name) || isRefused(resolved.refusedTunnels, name),
    sessions: (key) => unreadable.sessions(key) || isRefused(resolved.refusedSessions, key),
  };
}
