/** Writes the agent's part of the objects' status, by server-side apply, in the background, only on change. */
import type { Logger } from "pino";
import { sameData } from "../../../l2tp/same-data.ts";
import { datedCondition } from "../../api/conditions.ts";
import {
  type Condition,
  conditionOf,
  identityOf,
  type L2tpObject,
  pathOf,
} from "../../api/types.ts";
import type { KubeClient } from "../../kube/client.ts";
import { KubeError } from "../../kube/errors.ts";
import type { EventRecorder } from "../../kube/events.ts";
import { LogLimiter } from "../../kube/log-limiter.ts";
import { PendingApplies } from "../../kube/pending-applies.ts";
import { WorkQueue } from "../../kube/work-queue.ts";
import type { UndatedCondition } from "../../resolve/status.ts";
import type { Kind, StatusInput, StatusSink } from "../source.ts";

export interface ClusterStatusOptions {
  readonly client: KubeClient;
  readonly events: EventRecorder;
  readonly log: Logger;
  /** Called when a reconcile has programmed the object. */
  programmed(kind: Kind, key: string): void;
  /** Returns the API server's version of the object. */
  find(kind: Kind, key: string): L2tpObject | undefined;
}

const MANAGER = "l2tp-agent";
const CONCURRENCY = 8;
const MAX_PER_SECOND = 100;
/** Conditions that depend on the peer, and the reason of the Event that reports their recovery. */
const RECOVERIES: ReadonlyMap<string, string> = new Map([
  ["Alive", "PeerRecovered"],
  ["Redundant", "RedundancyRestored"],
]);
/** Status fields that the controller writes. */
const CONTROLLERS = new Set([
  "nodeName",
  "tunnelId",
  "sessionId",
  "remoteEndId",
  "remoteEndIdOctets",
]);

interface Wanted {
  readonly kind: Kind;
  readonly key: string;
  readonly status: Readonly<Record<string, unknown>> & { conditions: readonly Condition[] };
}

export class ClusterStatus implements StatusSink {
  readonly queue: WorkQueue;
  readonly #options: ClusterStatusOptions;
  /** The desired status, by "kind key". */
  #wanted = new Map<string, Wanted>();
  readonly #logLimiter = new LogLimiter();
  readonly #applied = new PendingApplies();
  /** Conditions of RECOVERIES whose loss an Event has reported: "uid type". */
  readonly #down = new Set<string>();

  constructor(options: ClusterStatusOptions) {
    this.#options = options;
    this.queue = new WorkQueue({
      work: (id) => this.#apply(id),
      failed: (id, error) => this.#failed(id, error),
      concurrency: CONCURRENCY,
      maxPerSecond: MAX_PER_SECOND,
      firstBackoffMs: 200,
      mostBackoffMs: 60_000,
    });
  }

  conditionsOf(kind: Kind, key: string): readonly Condition[] {
    const ours = this.#wanted.get(`${kind} ${key}`)?.status.conditions ?? [];
    const known = this.#options.find(kind, key)?.status?.conditions ?? [];
    const types = new Set(ours.map(({ type }) => type));
    return [...known.filter(({ type }) => !types.has(type)), ...ours];
  }

  write(inputs: readonly StatusInput[]): Error[] {
    const wanted = new Map<string, Wanted>();
    for (const input of inputs) {
      if (isProgrammed(input)) this.#options.programmed(input.kind, input.key);
      const id = `${input.kind} ${input.key}`;
      const object = this.#options.find(input.kind, input.key);
      // The object is not in the cluster, or not seen since a restart.
      if (object === undefined) continue;
      wanted.set(id, this.#wantedOf(input, this.#wanted.get(id), object));
    }
    this.#wanted = wanted;
    for (const id of this.#logLimiter.subjects()) if (!wanted.has(id)) this.#logLimiter.forget(id);
    for (const id of wanted.keys()) if (!this.#isSaid(id)) this.queue.add(id);
    return [];
  }

  /**
   * Handles a change of the object: another writer may have changed the agent's part of the status.
   * @param gone the last version of a deleted object
   */
  check(kind: Kind, key: string, gone: L2tpObject | undefined): void {
    if (gone !== undefined) {
      this.#applied.forget("status", gone.metadata);
      for (const type of RECOVERIES.keys()) this.#down.delete(`${gone.metadata.uid} ${type}`);
    }
    const id = `${kind} ${key}`;
    if (this.#wanted.has(id) && !this.#isSaid(id)) this.queue.addAfter(id, 1000);
  }

  #wantedOf(
    { kind, key, generation, status }: StatusInput,
    before: Wanted | undefined,
    object: L2tpObject,
  ): Wanted {
    const known = before?.status.conditions ?? object.status?.conditions ?? [];
    const dated = (verdict: UndatedCondition): Condition =>
      datedCondition(verdict, known, generation, new Date());
    const fields = Object.entries(status).filter(([name]) => !CONTROLLERS.has(name));
    const conditions = status.conditions.filter(({ type }) => type !== "Accepted").map(dated);
    return {
      kind,
      key,
      status: {
        ...Object.fromEntries(fields),
        ...(generation === undefined ? {} : { observedGeneration: generation }),
        conditions,
      },
    };
  }

  #isSaid(id: string): boolean {
    const wanted = this.#wanted.get(id);
    if (wanted === undefined) return true;
    const object = this.#options.find(wanted.kind, wanted.key);
    if (object === undefined) return true;
    if (this.#applied.isPending("status", object.metadata, wanted.status)) return true;
    const said = (object.status ?? {}) as Readonly<Record<string, unknown>>;
    const fields = Object.entries(wanted.status).filter(([name]) => name !== "conditions");
    if (!fields.every(([name, value]) => sameData(value, said[name] ?? null))) return false;
    return wanted.status.conditions.every((condition) => {
      const known = conditionOf(object, condition.type);
      return known !== undefined && sameData({ ...condition }, { ...known });
    });
  }

  async #apply(id: string): Promise<void> {
    const wanted = this.#wanted.get(id);
    if (wanted === undefined || this.#isSaid(id)) return;
    const object = this.#options.find(wanted.kind, wanted.key);
    if (object === undefined) return;
    const body = { ...identityOf(object), status: wanted.status };
    await this.#options.client.apply(`${pathOf(object)}/status`, body, MANAGER);
    this.#applied.note("status", object.metadata, wanted.status);
    this.#logLimiter.forget(id);
    this.#tell(object, wanted);
  }

  /** Records an Event if a condition has become False, or has recovered. */
  #tell(object: L2tpObject, { status }: Wanted): void {
    if (object.metadata.deletionTimestamp !== undefined) return;
    for (const condition of status.conditions) {
      if (condition.type === "Programmed") this.#tellProgrammed(object, condition);
      else if (RECOVERIES.has(condition.type)) this.#tellOfPeer(object, condition);
    }
  }

  #tellProgrammed(object: L2tpObject, { type, status, reason, message }: Condition): void {
    if (status !== "False") return;
    const was = conditionOf(object, type);
    if (was?.status === "False" && was.reason === reason) return;
    this.#options.events.record(object, "Warning", reason, message);
  }

  /** Records one Event per loss, whatever reasons follow. A condition that was never True is not lost. */
  #tellOfPeer(object: L2tpObject, { type, status, reason, message }: Condition): void {
    const { events } = this.#options;
    const known = `${object.metadata.uid} ${type}`;
    if (status === "True") {
      if (this.#down.delete(known)) {
        events.record(object, "Normal", RECOVERIES.get(type) ?? type, message);
      }
    } else if (reason !== "Connecting" && !this.#down.has(known)) {
      this.#down.add(known);
      events.record(object, "Warning", reason, message);
    }
  }

  #failed(id: string, error: unknown): void {
    // The object was deleted or changed meanwhile; its next event triggers another write.
    if (error instanceof KubeError && (error.isNotFound || error.isConflict)) return;
    const message = error instanceof Error ? error.message : String(error);
    if (!this.#logLimiter.shouldLog(id, message)) return;
    this.#options.log.warn({ object: id }, `cannot write status: ${message}; retrying`);
  }
}

function isProgrammed({ status }: StatusInput): boolean {
  return status.conditions.some(
    ({ type, status: value }) => type === "Programmed" && value === "True",
  );
}
