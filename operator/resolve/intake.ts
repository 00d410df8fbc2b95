/** Checks documents of unknown content, and returns the objects and the rejections. */
import type { HeldObject } from "../../model/conflicts.ts";
import { describeProblem, type FieldProblem } from "../../model/problem.ts";
import { checkForm, isKind, isL2tpDocument } from "../api/schema.ts";
import { keyOf, type L2tpSession, type L2tpTunnel } from "../api/types.ts";

/** A parsed YAML document. */
export interface Document {
  /** Its source, for messages: "branch.yaml, document 2". */
  readonly origin: string;
  readonly content: unknown;
  /** True if an API server has checked its form. */
  readonly isFromApi?: boolean;
  /** The claims with which the controller has accepted the object. */
  readonly held?: HeldObject;
}

/**
 * An invalid object, or a document that is not an object. If it is not identified, it may be any object, so no
 * programmed object counts as deleted.
 */
export interface Rejection {
  readonly origin: string;
  /** Undefined: the document does not say it. */
  readonly kind: string | undefined;
  readonly key: string | undefined;
  readonly problems: readonly FieldProblem[];
}

/** True if the rejection names an object, or a kind that is not of l2tp.dev. */
export function isIdentified({ kind, key }: Rejection): boolean {
  if (kind === undefined || key === undefined) return false;
  return !kind.toLowerCase().startsWith("l2tp") || isKind(kind);
}

export interface Intake {
  readonly tunnels: ReadonlyMap<string, L2tpTunnel>;
  readonly sessions: ReadonlyMap<string, L2tpSession>;
  readonly rejections: readonly Rejection[];
}

/** Returns the objects of the documents. Of several documents of the same object, the first is accepted. */
export function takeIn(documents: readonly Document[]): Intake {
  const tunnels = new Map<string, L2tpTunnel>();
  const sessions = new Map<string, L2tpSession>();
  const rejections: Rejection[] = [];
  const origins = new Map<string, string>();
  for (const { origin, content, isFromApi = false } of documents) {
    if (content === null || content === undefined) continue;
    if (!isL2tpDocument(content)) {
      rejections.push({ origin, ...identify(content), problems: [notOurs(content)] });
      continue;
    }
    const checked = checkOnce(content, isFromApi);
    if ("problems" in checked) {
      rejections.push({ origin, ...identify(content), problems: checked.problems });
      continue;
    }
    const { object } = checked;
    const key = keyOf(object);
    const before = origins.get(`${object.kind} ${key}`);
    if (before !== undefined) {
      rejections.push({ origin, kind: object.kind, key, problems: [again(key, before)] });
      continue;
    }
    origins.set(`${object.kind} ${key}`, origin);
    if (object.kind === "L2tpTunnel") tunnels.set(key, object);
    else sessions.set(key, object);
  }
  return { tunnels, sessions, rejections };
}

/** Results by document: each reconcile gets the same documents again, unless a file has changed. */
const checkedBefore = new WeakMap<object, ReturnType<typeof checkForm>>();

function checkOnce(
  content: Record<string, unknown>,
  isFromApi: boolean,
): ReturnType<typeof checkForm> {
  const before = checkedBefore.get(content);
  if (before !== undefined) return before;
  const checked = checkForm(structuredClone(content), isFromApi);
  checkedBefore.set(content, checked);
  return checked;
}

function identify(content: unknown): { kind: string | undefined; key: string | undefined } {
  const { kind, metadata } = (content ?? {}) as {
    kind?: unknown;
    metadata?: { name?: unknown; namespace?: unknown } | null;
  };
  const name = metadata?.name;
  if (typeof kind !== "string" || typeof name !== "string") {
    return { kind: undefined, key: undefined };
  }
  const namespace = String(metadata?.namespace ?? "default");
  return { kind, key: kind === "L2tpSession" ? `${namespace}/${name}` : name };
}

function notOurs(content: unknown): FieldProblem {
  const { kind } = (typeof content === "object" ? content : {}) as { kind?: unknown };
  return {
    path: "kind",
    value: kind,
    reason: "not a kind of l2tp.dev",
    remedy: "move it out of this folder",
  };
}

function again(key: string, before: string): FieldProblem {
  return {
    path: "metadata.name",
    value: key,
    reason: `already defined in ${before}`,
    remedy: "delete one of the two",
  };
}

/** Returns the problems of a document in one line: "lan.yaml (L2tpSession shop/lan): spec.mtu: …". */
export function describeRejection({ origin, kind, key, problems }: Rejection): string {
  const what = kind === undefined || key === undefined ? "" : ` (${kind} ${key})`;
  return `${origin}${what}: ${problems.map(describeProblem).join("; ")}`;
}
