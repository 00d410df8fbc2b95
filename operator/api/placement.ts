/**
 * How the controller hands objects to nodes. It labels an object with its node, so that an agent can
 * watch its own, and says in the status what it has accepted; the label alone, which users can write,
 * means nothing.
 */
import { createHash } from "node:crypto";
import type { HeldObject } from "../../model/conflicts.ts";
import { readRemoteEndId } from "../../model/remote-end-id.ts";
import { INTERFACE_NOT_ALLOWED } from "./interfaces.ts";
import { conditionOf, type L2tpObject, type SessionStatus, type TunnelStatus } from "./types.ts";

/** Selects a node's objects; API servers select by labels in every version, and by fields since 1.31. */
export const NODE_LABEL = "l2tp.dev/node";
/** Keeps an object until its node has taken it down. */
export const FINALIZER = "l2tp.dev/node";
/** The reason of Programmed=False when a node has taken down what is being deleted. */
export const REMOVED = "Removed";

const MAX_LABEL = 63;

/** A node's name as a label: names may be longer. */
export function nodeLabel(nodeName: string): string {
  if (nodeName.length <= MAX_LABEL) return nodeName;
  const digest = createHash("sha256").update(nodeName).digest("hex").slice(0, 16);
  return `${nodeName.slice(0, 46).replace(/[^a-z0-9]+$/, "")}-${digest}`;
}

/** The controller's word on an object. Pending: it has not seen this generation yet. */
export type Acceptance =
  | { readonly state: "accepted"; readonly id: number; readonly nodeName: string }
  | { readonly state: "refused"; readonly reason: string; readonly message: string }
  | { readonly state: "pending" };

export function acceptanceOf(object: L2tpObject): Acceptance {
  const { metadata, status } = object;
  const accepted = conditionOf(object, "Accepted");
  if (accepted === undefined || accepted.observedGeneration !== metadata.generation) {
    return { state: "pending" };
  }
  const { reason, message } = accepted;
  if (accepted.status !== "True") return { state: "refused", reason, message };
  const id = idOf(object);
  const nodeName = status?.nodeName;
  if (id === undefined || nodeName === undefined) return { state: "pending" };
  return { state: "accepted", id, nodeName };
}

/**
 * The claims with which the controller has accepted the object. An older controller did not say: its
 * objects hold all that they ask for, and peers know their sessions by their names alone.
 */
export function heldOf(object: L2tpObject): HeldObject {
  const { metadata, status } = object;
  const accepted = conditionOf(object, "Accepted");
  const isCurrent =
    accepted?.status === "True" && accepted.observedGeneration === metadata.generation;
  const since = accepted?.lastTransitionTime ?? "";
  const id = object.kind === "L2tpTunnel" ? object.status?.tunnelId : object.status?.sessionId;
  // Changed while the controller was replaced: after those that were accepted as they are.
  const isPending = accepted?.status === "True" && !isCurrent && status?.claims === undefined;
  const claims = status?.claims ?? (isCurrent || isPending ? null : []);
  return {
    claims,
    since,
    ...(accepted?.status === "False" || isPending ? { isRefused: true } : {}),
    ...(id === undefined ? {} : { id }),
    ...decidedOn(object),
  };
}

function decidedOn({ kind, metadata, status }: L2tpObject): Partial<HeldObject> {
  if (kind === "L2tpTunnel") {
    const { datapath } = (status ?? {}) as TunnelStatus;
    return datapath === undefined ? {} : { datapath };
  }
  const { nodeName, claims, ...said } = (status ?? {}) as SessionStatus;
  const remoteEndId = readRemoteEndId(said);
  if (remoteEndId !== undefined) return { remoteEndId };
  const isOfBefore = nodeName !== undefined && claims === undefined;
  return isOfBefore ? { remoteEndId: metadata.name } : {};
}

/** The id that the object has, asked for or allocated. */
export function idOf(object: L2tpObject): number | undefined {
  return object.kind === "L2tpTunnel"
    ? (object.spec.tunnelId ?? object.status?.tunnelId)
    : (object.spec.sessionId ?? object.status?.sessionId);
}

/** Refusals that an administrator intends: what runs is taken down. Any other leaves the last valid version running. */
export const TEARDOWN_REASONS: ReadonlySet<string> = new Set([
  "NamespaceNotAllowed",
  INTERFACE_NOT_ALLOWED,
  "NoTunnel",
  "Conflict",
]);
