/**
 * The controller validates objects, allocates IDs, assigns objects to nodes, and removes finalizers after the
 * nodes have removed deleted objects. It is level-triggered, and works on one node at a time.
 */
import pMap from "p-map";
import type { Logger } from "pino";
import { allowedFrom, type DefaultNamespaces } from "../api/namespaces.ts";
import { type L2tpSession, type L2tpTunnel, SESSIONS, TUNNELS } from "../api/types.ts";
import type { KubeClient } from "../kube/client.ts";
import { KubeError } from "../kube/errors.ts";
import type { EventRecorder } from "../kube/events.ts";
import { LogLimiter } from "../kube/log-limiter.ts";
import { collectionPath, type KubeObject, NAMESPACES } from "../kube/object.ts";
import { PendingApplies } from "../kube/pending-applies.ts";
import { type AnyReflector, Reflector } from "../kube/reflector.ts";
import { WorkQueue } from "../kube/work-queue.ts";
import { countSessions, Index } from "./cluster.ts";
import { generateCookies, type Owner, wantedCookies } from "./cookies.ts";
import { type Decision, decideNode, decideOrphan, isLeaving } from "./decide.ts";
import { Ids } from "./ids.ts";
import { decideLeaving, type NodeState } from "./leaving.ts";
import { NodeWatch } from "./nodes.ts";
import {
  forgetWrites,
  nameOf,
  release,
  type Writer,
  writeDecision,
  writeUnknown,
} from "./write.ts";

/** Settings and connections of the controller. */
export interface ControllerOptions {
  readonly client: KubeClient;
  readonly events: EventRecorder;
  readonly log: Logger;
  /** Finalizers of deleted objects are removed when their node has not been ready for this time. */
  readonly nodeNotReadyTimeoutMs: number;
  /** Applies to tunnels without spec.allowedNamespaces. */
  readonly defaultNamespaces: DefaultNamespaces;
  /** True if the controller creates Secrets for cookies with `generate: true`. */
  readonly generatesCookies: boolean;
}

/** Programmed becomes Unknown when the node has not been ready for this time. */
const UNKNOWN_AFTER_MS = 10_000;
/** Delay that collects a burst of changes of one node. */
const DEBOUNCE_MS = 50;
const WRITES_AT_ONCE = 16;
/** True if another writer has changed or deleted the object meanwhile: retried without a log line. */
const isRace = (error: unknown) =>
  error instanceof KubeError && (error.isConflict || error.isNotFound);

/** Watches the cluster's objects, and writes decisions about them while it leads. */
export class Controller {
  readonly tunnels: Reflector<L2tpTunnel>;
  readonly sessions: Reflector<L2tpSession>;
  readonly #nodes: NodeWatch;
  readonly #namespaces: Reflector<KubeObject>;
  readonly queue: WorkQueue;
  readonly #options: ControllerOptions;
  readonly #writer: Writer;
  readonly #index = new Index();
  readonly #ids = new Ids();
  /** Generation for which the session's cookies have been generated, by UID. */
  readonly #cookiesGenerated = new Map<string, number>();
  readonly #logLimiter = new LogLimiter();
  /** Start of the outage (performance.now()) that was written to the object's status, by UID. */
  readonly #reportedUnknown = new Map<string, number>();
  /** Time at which the controller first saw the object in deletion (performance.now()), by UID. */
  readonly #leavingSince = new Map<string, number>();
  #leading: AbortSignal | null = null;

  constructor(options: ControllerOptions) {
    const { client, events, log } = options;
    this.#options = options;
    this.#writer = { client, pending: new PendingApplies(), events, now: () => new Date() };
    const failed = (error: KubeError) => {
      if (!this.#logLimiter.shouldLog(error.what, error.message)) return;
      const hint = error.isNotFound ? "; are the CustomResourceDefinitions installed?" : "";
      log.warn({ reason: error.reason }, `${error.message}${hint}; retrying`);
    };
    const common = { client, failed };
    this.tunnels = new Reflector({
      ...common,
      path: collectionPath(TUNNELS),
      changed: (name, gone) => this.#tunnelChanged(name, gone),
    });
    this.sessions = new Reflector({
      ...common,
      path: collectionPath(SESSIONS),
      changed: (key, gone) => this.#sessionChanged(key, gone),
    });
    this.#nodes = new NodeWatch({
      ...common,
      changed: (name, readinessChanged) => this.#nodeChanged(name, readinessChanged),
    });
    this.#namespaces = new Reflector({
      ...common,
      path: collectionPath(NAMESPACES),
      keep: ({ metadata: { name, labels = {} } }) => ({ metadata: { name, labels } }),
      changed: () => this.#namespaceChanged(),
    });
    this.queue = new WorkQueue({
      work: (key) => this.#work(key),
      failed: (key, error) => this.#workFailed(key, error),
      concurrency: 4,
      maxPerSecond: 100,
      firstBackoffMs: 200,
      mostBackoffMs: 60_000,
    });
  }

  get reflectors(): Readonly<Record<string, AnyReflector>> {
    return {
      l2tptunnels: this.tunnels,
      l2tpsessions: this.sessions,
      nodes: this.#nodes.reflector,
      namespaces: this.#namespaces,
    };
  }

  /** Watches the cluster without changing anything. Resolves when all objects are loaded. */
  async follow(signal: AbortSignal): Promise<void> {
    const reflectors = Object.values(this.reflectors);
    for (const reflector of reflectors) void reflector.run(signal);
    await Promise.all(reflectors.map((reflector) => reflector.synced()));
  }

  /** Works until the signal is aborted. Only the leader may call it. */
  async lead(signal: AbortSignal): Promise<void> {
    this.#leading = signal;
    await this.queue.run(signal);
  }

  #enqueueTunnel(name: string): void {
    const home = this.#index.homeOf(name);
    const key = home === undefined ? `orphans/${name}` : `node/${home}`;
    this.queue.addAfter(key, DEBOUNCE_MS);
  }

  /** Forgets an object that does not exist anymore. */
  #forget(object: L2tpTunnel | L2tpSession): void {
    const { uid = "" } = object.metadata;
    forgetWrites(this.#writer, object);
    this.#ids.forget(uid);
    for (const map of [this.#cookiesGenerated, this.#reportedUnknown, this.#leavingSince])
      map.delete(uid);
  }

  #tunnelChanged(name: string, gone: L2tpTunnel | undefined): void {
    const tunnel = this.tunnels.get(name);
    if (gone !== undefined) this.#forget(gone);
    if (tunnel?.status?.tunnelId !== undefined) this.#ids.forget(tunnel.metadata.uid ?? "");
    const nodes = this.#index.tunnel(name, tunnel);
    for (const node of nodes) this.queue.addAfter(`node/${node}`, DEBOUNCE_MS);
    // Without the tunnel its sessions have no node.
    if (tunnel === undefined) this.#enqueueTunnel(name);
  }

  #sessionChanged(key: string, gone: L2tpSession | undefined): void {
    const session = this.sessions.get(key);
    if (gone !== undefined) this.#forget(gone);
    if (session?.status?.sessionId !== undefined) this.#ids.forget(session.metadata.uid ?? "");
    for (const tunnel of this.#index.session(key, session)) this.#enqueueTunnel(tunnel);
  }

  #nodeChanged(name: string, readinessChanged: boolean): void {
    if (this.#index.tunnelsOf(name).length > 0) this.queue.addAfter(`node/${name}`, DEBOUNCE_MS);
    else this.#nodes.forgetGone(name);
    if (readinessChanged) this.#enqueueLeaving(name);
  }

  /** Enqueues deleted sessions that wait for the node, even if their tunnel is on another node now. */
  #enqueueLeaving(node: string): void {
    for (const session of this.sessions.values()) {
      if (isLeaving(session) && session.status?.nodeName === node) {
        this.#enqueueTunnel(session.spec.tunnelRef.name);
      }
    }
  }

  #namespaceChanged(): void {
    for (const { metadata, spec } of this.tunnels.values()) {
      if (allowedFrom(spec, "All") === "Selector") this.#enqueueTunnel(metadata.name);
    }
  }

  async #work(key: string): Promise<void> {
    const at = key.indexOf("/");
    const [kind, name] = [key.slice(0, at), key.slice(at + 1)];
    const decisions = kind === "node" ? this.#decideNode(name) : this.#decideOrphans(name);
    const errors: unknown[] = [];
    await pMap(
      decisions,
      (decision) => this.#carryOut(key, decision).catch((error) => errors.push(error)),
      { concurrency: WRITES_AT_ONCE },
    );
    const worst = errors.find((error) => !isRace(error)) ?? errors[0];
    if (worst !== undefined) throw worst;
    this.#logLimiter.forget(key);
  }

  #decideNode(nodeName: string): Decision[] {
    const names = this.#index.tunnelsOf(nodeName);
    return decideNode({
      nodeName,
      nodeAddresses: this.#nodes.internalAddresses(nodeName),
      tunnels: names.map((name) => this.tunnels.get(name)).filter((item) => item !== undefined),
      sessions: names.flatMap((name) => this.#sessionsOf(name)),
      namespaceLabels: (name) => this.#namespaces.get(name)?.metadata.labels,
      defaultNamespaces: this.#options.defaultNamespaces,
      allocate: ({ metadata }, taken) => this.#ids.allocate(metadata.uid ?? "", taken),
    });
  }

  /** Decides about the sessions of a missing tunnel. Returns nothing if the tunnel exists by now. */
  #decideOrphans(tunnel: string): Decision[] {
    if (this.tunnels.get(tunnel) !== undefined) return [];
    return this.#sessionsOf(tunnel).map(decideOrphan);
  }

  #sessionsOf(tunnel: string): L2tpSession[] {
    const keys = this.#index.sessionsOf(tunnel);
    return keys.map((key) => this.sessions.get(key)).filter((item) => item !== undefined);
  }

  async #carryOut(key: string, decision: Decision): Promise<void> {
    // Another controller may be the leader by now.
    this.#leading?.throwIfAborted();
    const { object } = decision;
    if (isLeaving(object)) return this.#carryOutDeletion(key, decision);
    let problem: unknown;
    if (decision.refusal === null && object.kind === "L2tpSession") {
      // A session without its cookies is accepted, too. Its agent reports the missing Secret.
      problem = await this.#cookies(object).catch((error) => error);
    }
    const counts =
      object.kind === "L2tpTunnel" ? countSessions(this.#sessionsOf(object.metadata.name)) : null;
    await writeDecision(this.#writer, decision, counts);
    await this.#reportUnknown(key, decision);
    if (problem !== undefined) throw problem;
  }

  /** Writes Programmed=Unknown if the node has not been ready for a while. */
  async #reportUnknown(key: string, { object, nodeName }: Decision): Promise<void> {
    const { uid = "" } = object.metadata;
    const since = this.#nodes.notReadySince(nodeName);
    if (since === undefined) {
      this.#reportedUnknown.delete(uid);
      return;
    }
    const left = since + UNKNOWN_AFTER_MS - performance.now();
    if (left > 0) return this.queue.addAfter(key, left + DEBOUNCE_MS);
    // Write once per outage, so that a status of a running agent is not overwritten.
    if (this.#reportedUnknown.get(uid) === since) return;
    const what = this.#nodes.exists(nodeName) ? "not ready" : "not in the cluster";
    const message = `Node ${nodeName} is ${what}; its tunnels and sessions may still be running.`;
    await writeUnknown(this.#writer, object, message);
    this.#reportedUnknown.set(uid, since);
  }

  async #cookies(session: L2tpSession): Promise<void> {
    if (!this.#options.generatesCookies || wantedCookies(session).size === 0) return;
    const { uid = "", generation = 0 } = session.metadata;
    if (this.#cookiesGenerated.get(uid) === generation) return;
    const { namespace } = session.metadata;
    const isLive = (owner: Owner) =>
      this.sessions.get(`${namespace}/${owner.name}`)?.metadata.uid === owner.uid;
    await generateCookies(this.#options.client, session, isLive);
    this.#cookiesGenerated.set(uid, generation);
  }

  async #carryOutDeletion(key: string, decision: Decision): Promise<void> {
    const { object } = decision;
    // The node that has the session, even if its tunnel is on another node now.
    const nodeName = object.status?.nodeName ?? decision.nodeName;
    const state = this.#stateOf(nodeName, object);
    const leave = decideLeaving(object, state, this.#options.nodeNotReadyTimeoutMs);
    if (leave.do === "nothing") return;
    if (leave.do === "wait") {
      if (leave.milliseconds !== null) this.queue.addAfter(key, leave.milliseconds + DEBOUNCE_MS);
      return;
    }
    await release(this.#options.client, object);
    const { events, log } = this.#options;
    const { abandoned } = leave;
    const why = abandoned === null ? "" : ` without confirmation from the node: ${abandoned}`;
    log.info({ object: nameOf(object), node: nodeName }, `finalizer removed${why}`);
    if (abandoned === null) return;
    events.record(object, "Warning", "FinalizerRemoved", `Finalizer removed${why}.`);
  }

  #stateOf(nodeName: string, { metadata: { uid = "" } }: Decision["object"]): NodeState {
    const since = this.#nodes.notReadySince(nodeName);
    const leavingSince = this.#leavingSince.get(uid) ?? performance.now();
    this.#leavingSince.set(uid, leavingSince);
    return {
      leavingMs: performance.now() - leavingSince,
      exists: this.#nodes.exists(nodeName),
      notReadyMs: since === undefined ? 0 : Math.max(1, performance.now() - since),
    };
  }

  /** Logs a failure when its message changes. */
  #workFailed(key: string, error: unknown): void {
    if (isRace(error)) return;
    const message = error instanceof Error ? error.message : String(error);
    if (!this.#logLimiter.shouldLog(key, message)) return;
    const detail = error instanceof KubeError ? {} : { err: error };
    this.#options.log.error({ key, ...detail }, `${message}; retrying`);
  }
}
