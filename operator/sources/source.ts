/** Where an agent's objects come from, and where their status goes: a folder, or a cluster. */
import type { Condition } from "../api/types.ts";
import type { HeldObjects } from "../resolve/held.ts";
import type { Document, Rejection } from "../resolve/intake.ts";
import type { SecretReader } from "../resolve/secret.ts";
import type { UndatedCondition } from "../resolve/status.ts";

export type Kind = "L2tpTunnel" | "L2tpSession";

export interface ObjectSource {
  /** The folder of manifests; null: it is none. */
  readonly folder: string | null;
  readonly secrets: SecretReader;
  readonly status: StatusSink;
  /** False: the last read had what was kept for a restart, and the source may have more. */
  readonly isWhole: boolean;
  /** What there is now; null: nobody can say yet, and nothing may be changed. @throws where it cannot be read */
  read(): Promise<Found | null>;
  /**
   * Keeps this for the next start, where nothing else does.
   * @returns what went wrong, for the log; it is tried again with the next pass
   */
  hold(held: HeldObjects): Error | null;
  /** Nothing of it is on the node any more: forgets what it has kept for the next start. */
  forget(): void;
  /** Calls `changed` when there may be something new, from now on. Returns how to stop. */
  watch(changed: () => void): () => void;
  /**
   * What a pod asks for by its annotation; null: nothing.
   * @param uid tells it from earlier ones of the name, where the runtime says
   * @throws AgentError where nobody can say
   */
  annotationOf(pod: string, uid: string | null): Promise<string | null>;
  /** Says in a sentence on which node a session is; null: it is not known. */
  locateSession(session: string): Promise<string | null>;
}

export interface Found {
  readonly documents: readonly Document[];
  /** What cannot be read at all. */
  readonly rejections: readonly Rejection[];
  /** What is to be taken down, and then said to be. */
  readonly withdrawn: readonly Withdrawn[];
  /** The claims with which the objects were accepted. */
  readonly held: HeldObjects;
}

export interface Withdrawn {
  readonly kind: Kind;
  readonly key: string;
  readonly generation: number | undefined;
  /** Programmed=False, for when it is done. */
  readonly verdict: UndatedCondition;
}

export interface StatusInput {
  readonly kind: Kind;
  readonly key: string;
  /** What the generation counts the changes of. */
  readonly spec: unknown;
  /** Where the objects bring one along. */
  readonly generation?: number | undefined;
  readonly status: { readonly conditions: readonly UndatedCondition[] } & Readonly<
    Record<string, unknown>
  >;
}

export interface StatusSink {
  /** Conditions with their times, as last said. */
  conditionsOf(kind: Kind, key: string): readonly Condition[];
  /**
   * Says this of all objects, and nothing of others.
   * @returns what went wrong, for the log; it is tried again
   */
  write(inputs: readonly StatusInput[]): Error[];
}
