/**
 * The controller: accepts objects or says why not, gives ids, hands objects to their nodes, and lets them
 * go when those have taken them down. Level-triggered, a node at a time.
 */
import pMap from "p-map";
import type { Logger } from "pino";
import { allowedFrom, type DefaultNamespaces } from "../api/namespaces.ts";
import { type L2tpSession, type L2tpTunnel, SESSIONS, TUNNELS } from "../api/types.ts";
import { Applied } from "../kube/applied.ts";
import type { KubeClient } from "../kube/client.ts";
import { KubeError } from "../kube/errors.ts";
import type { EventRecorder } from "../kube/events.ts";
import { LogLimiter } from "../kube/log-limiter.ts";
import { collectionPath, type KubeObject, NAMESPACES } from "../kube/object.ts";
import { type AnyReflector, Reflector } from "../kube/reflector.ts";
import { WorkQueue } from "../kube/work-queue.ts";
import { countSessions, Index } from "./cluster.ts";
import { makeCookies, type Owner, wantedCookies } from "./cookies.ts";
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

export interface ControllerOptions {
  readonly client: KubeClient;
  readonly events: EventRecorder;
  readonly log: Logger;
  /** How long a node that is not ready holds what is being deleted. */
  readonly nodePatienceMs: number;
  /** Applies to tunnels without spec.allowedNamespaces. */
  readonly defaultNamespaces: DefaultNamespaces;
  /** Whether it may make Secrets. */
  readonly makesCookies: boolean;
}

/** A node that is not ready for so long may do anything, and its agent says nothing. */
const UNKNOWN_AFTER_MS = 10_000;
/** Changes of one node come in bursts. */
const SETTLE_MS = 50;
const WRITES_AT_ONCE = 16;
/** Nobody has to do anything about these: the pass comes again. */
const isPassing = (error: unknown) =>
  error instanceof KubeError && (error.isConflict || error.isNotFound);

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
  /** By uid, the generation for which the session's cookies have been made. */
  readonly #cookiesMade = new Map<string, number>();
  readonly #logLimiter = new LogLimiter();
  /** By uid, since when the node has not been ready of which this was said: once each time. */
  readonly #reportedUnknown = new Map<string, number>();
  /** By uid, since when the object has been leaving, by performance.now(). */
  readonly #leavingSince = new Map<string, number>();
  #leading: AbortSignal | null = null;

  constructor(options: ControllerOptions) {
    const { client, events, log } = options;
    this.#options = options;
    this.#writer = { client, applied: new Applied(), events, now: () => new Date() };
    const failed = (error: KubeError) => {
      if (!this.#logLimiter.shouldLog(error.what, error.message)) return;
      const hint = error.isNotFound ? "; are the CustomResourceDefinitions installed?" : "";
      log.warn({ reason: error.reason }, `${error.message}${hint}; it is tried again`);
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
      changed: (name, isTurned) => this.#nodeChanged(name, isTurned),
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

  /** Follows the cluster, without changing anything. Resolves when all of it is known. */
  async follow(signal: AbortSignal): Promise<void> {
    const reflectors = Object.values(this.reflectors);
    for (const reflector of reflectors) void reflector.run(signal);
    await Promise.all(reflectors.map((reflector) => reflector.synced()));
  }

  /** Acts until the signal is aborted: for the leader only. */
  async lead(signal: AbortSignal): Promise<void> {
    this.#leading = signal;
    await this.queue.run(signal);
  }

  #enqueueTunnel(name: string): void {
    const home = this.#index.homeOf(name);
    const key = home === undefined ? `orphans/${name}` : `node/${home}`;
    this.queue.addAfter(key, SETTLE_MS);
  }

  /** Nothing is kept of an object that is gone. */
  #forget(object: L2tpTunnel | L2tpSession): void {
    const { uid = "" } = object.metadata;
    forgetWrites(this.#writer, object);
    this.#ids.forget(uid);
    for (const map of [this.#cookiesMade, this.#reportedUnknown, this.#leavingSince])
      map.delete(uid);
  }

  #tunnelChanged(name: string, gone: L2tpTunnel | undefined): void {
    const tunnel = this.tunnels.get(name);
    if (gone !== undefined) this.#forget(gone);
    if (tunnel?.status?.tunnelId !== undefined) this.#ids.forget(tunnel.metadata.uid ?? "");
    const nodes = this.#index.tunnel(name, tunnel);
    for (const node of nodes) this.queue.addAfter(`node/${node}`, SETTLE_MS);
    // Its sessions have no node then.
    if (tunnel === undefined) this.#enqueueTunnel(name);
  }

  #sessionChanged(key: string, gone: L2tpSession | undefined): void {
    const session = this.sessions.get(key);
    if (gone !== undefined) this.#forget(gone);
    if (session?.status?.sessionId !== undefined) this.#ids.forget(session.metadata.uid ?? "");
    for (const tunnel of this.#index.session(key, session)) this.#enqueueTunnel(tunnel);
  }

  #nodeChanged(name: string, isTurned: boolean): void {
    if (this.#index.tunnelsOf(name).length > 0) this.queue.addAfter(`node/${name}`, SETTLE_MS);
    else this.#nodes.forgetGone(name);
    if (isTurned) this.#enqueueLeaving(name);
  }

  /** What waits for the node, whosever tunnel it would be in now. */
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
      (decision) => this.#settle(key, decision).catch((error) => errors.push(error)),
      { concurrency: WRITES_AT_ONCE },
    );
    const grave = errors.find((error) => !isPassing(error)) ?? errors[0];
    if (grave !== undefined) throw grave;
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

  /** What has been put off since there was no tunnel may find one by now. */
  #decideOrphans(tunnel: string): Decision[] {
    if (this.tunnels.get(tunnel) !== undefined) return [];
    return this.#sessionsOf(tunnel).map(decideOrphan);
  }

  #sessionsOf(tunnel: string): L2tpSession[] {
    const keys = this.#index.sessionsOf(tunnel);
    return keys.map((key) => this.sessions.get(key)).filter((item) => item !== undefined);
  }

  async #settle(key: string, decision: Decision): Promise<void> {
    // Another one leads by now, and knows better.
    this.#leading?.throwIfAborted();
    const { object } = decision;
    if (isLeaving(object)) return this.#letGo(key, decision);
    let problem: unknown;
    if (decision.refusal === null && object.kind === "L2tpSession") {
      // Without its cookies it is accepted all the same: its agent says what is missing.
      problem = await this.#cookies(object).catch((error) => error);
    }
    const counts =
      object.kind === "L2tpTunnel" ? countSessions(this.#sessionsOf(object.metadata.name)) : null;
    await writeDecision(this.#writer, decision, counts);
    await this.#doubt(key, decision);
    if (problem !== undefined) throw problem;
  }

  /** Of what a node that does not answer has programmed, nobody can say whether it still has it. */
  async #doubt(key: string, { object, nodeName }: Decision): Promise<void> {
    const { uid = "" } = object.metadata;
    const since = this.#nodes.notReadySince(nodeName);
    if (since === undefined) {
      this.#reportedUnknown.delete(uid);
      return;
    }
    const left = since + UNKNOWN_AFTER_MS - performance.now();
    if (left > 0) return this.queue.addAfter(key, left + SETTLE_MS);
    // An agent that is there after all has the last word.
    if (this.#reportedUnknown.get(uid) === since) return;
    const what = this.#nodes.exists(nodeName) ? "not ready" : "not in the cluster";
    const message = `Node ${nodeName} is ${what}; what it had programmed may still run.`;
    await writeUnknown(this.#writer, object, message);
    this.#reportedUnknown.set(uid, since);
  }

  async #cookies(session: L2tpSession): Promise<void> {
    if (!this.#options.makesCookies || wantedCookies(session).size === 0) return;
    const { uid = "", generation = 0 } = session.metadata;
    if (this.#cookiesMade.get(uid) === generation) return;
    const { namespace } = session.metadata;
    const isLive = (owner: Owner) =>
      this.sessions.get(`${namespace}/${owner.name}`)?.metadata.uid === owner.uid;
    await makeCookies(this.#options.client, session, isLive);
    this.#cookiesMade.set(uid, generation);
  }

  async #letGo(key: string, decision: Decision): Promise<void> {
    const { object } = decision;
    // The one that has it, which its tunnel may have left.
    const nodeName = object.status?.nodeName ?? decision.nodeName;
    const state = this.#stateOf(nodeName, object);
    const leave = decideLeaving(object, state, this.#options.nodePatienceMs);
    if (leave.do === "nothing") return;
    if (leave.do === "wait") {
      if (leave.milliseconds !== null) this.queue.addAfter(key, leave.milliseconds + SETTLE_MS);
      return;
    }
    await release(this.#options.client, object);
    const { events, log } = this.#options;
    log.info({ object: nameOf(object), node: nodeName }, leave.abandoned ?? "released");
    if (leave.abandoned === null) return;
    events.record(object, "Warning", "NodeGone", `Let go without its node: ${leave.abandoned}.`);
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

  /** Logged once, until the message changes. */
  #workFailed(key: string, error: unknown): void {
    if (isPassing(error)) return;
    const message = error instanceof Error ? error.message : String(error);
    if (!this.#logLimiter.shouldLog(key, message)) return;
    const detail = error instanceof KubeError ? {} : { err: error };
    this.#options.log.error({ key, ...detail }, `${message}; it is tried again`);
  }
}
