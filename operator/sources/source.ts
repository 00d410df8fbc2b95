/** The source of an agent's objects, and the sink of their status: a folder, or a cluster. */
import type { Condition } from "../api/types.ts";
import type { HeldObjects } from "../resolve/held.ts";
import type { Document, Rejection } from "../resolve/intake.ts";
import type { SecretReader } from "../resolve/secret.ts";
import type { UndatedCondition } from "../resolve/status.ts";

export type Kind = "L2tpTunnel" | "L2tpSession";

export interface ObjectSource {
  /** The folder of manifests; null: the source is a cluster. */
  readonly folder: string | null;
  readonly secrets: SecretReader;
  readonly status: StatusSink;
  /** False: the last read returned the cache, and the source may have other objects. */
  readonly isWhole: boolean;
  /**
   * Returns the present objects; null: not known yet, and nothing may be changed.
   * @throws Error if it cannot be read
   */
  read(): Promise<Found | null>;
  /**
   * Stores the claims for the next start, unless the cluster does.
   * @returns the error, for the log; the next reconcile retries
   */
  hold(held: HeldObjects): Error | null;
  /** Removes the data that is stored for the next start. Called when the node has no objects left. */
  forget(): void;
  /** Calls `changed` after each possible change. Returns a function that stops watching. */
  watch(changed: () => void): () => void;
  /**
   * Returns the pod's l2tp.dev/sessions annotation; null: none.
   * @param uid distinguishes the pod from earlier ones of the name; null: the runtime does not pass it
   * @throws AgentError if the pod cannot be read
   */
  annotationOf(pod: string, uid: string | null): Promise<string | null>;
  /** Returns a phrase that says why the session is not on this node; null: unknown. */
  locateSession(session: string): Promise<string | null>;
}

export interface Found {
  readonly documents: readonly Document[];
  /** Documents and files that cannot be used. */
  readonly rejections: readonly Rejection[];
  /** Objects to delete from the node, and then to report as deleted. */
  readonly withdrawn: readonly Withdrawn[];
  /** Claims with which the objects were accepted. */
  readonly held: HeldObjects;
}

export interface Withdrawn {
  readonly kind: Kind;
  readonly key: string;
  readonly generation: number | undefined;
  /** The condition Programmed=False to report after the deletion. */
  readonly verdict: UndatedCondition;
}

export interface StatusInput {
  readonly kind: Kind;
  readonly key: string;
  /** The spec whose changes the generation counts. */
  readonly spec: unknown;
  /** The object's generation, if it has one. */
  readonly generation?: number | undefined;
  readonly status: { readonly conditions: readonly UndatedCondition[] } & Readonly<
    Record<string, unknown>
  >;
}

export interface StatusSink {
  /** Returns the last written conditions, with their times. */
  conditionsOf(kind: Kind, key: string): readonly Condition[];
  /**
   * Writes the status of these objects, and removes that of all others.
   * @returns the errors, for the log; the sink retries
   */
  write(inputs: readonly StatusInput[]): Error[];
}
