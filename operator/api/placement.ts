/**
 * Assignment of objects to nodes. The controller labels an object with its node, so that an agent can watch its own
 * objects, and writes into the status what it has accepted. Users can write the label, so agents trust the status only.
 */
import { createHash } from "node:crypto";
import type { HeldObject } from "../../model/conflicts.ts";
import { readRemoteEndId } from "../../model/remote-end-id.ts";
import { INTERFACE_NOT_ALLOWED } from "./interfaces.ts";
import { conditionOf, type L2tpObject, type SessionStatus, type TunnelStatus } from "./types.ts";

/** Label that selects a node's objects. API servers before 1.31 cannot select by fields. */
export const NODE_LABEL = "l2tp.dev/node";
/** Finalizer that holds an object until its node has removed it. */
export const FINALIZER = "l2tp.dev/node";
/** Reason of Programmed=False after a node has removed an object that is being deleted. */
export const REMOVED = "Removed";

const MAX_LABEL = 63;

/** Returns a node's name as a label value, shortened if it is too long for one. */
export function nodeLabel(nodeName: string): string {
  if (nodeName.length <= MAX_LABEL) return nodeName;
  const digest = createHash("sha256").update(nodeName).digest("hex").slice(0, 16);
  return `${nodeName.slice(0, 46).replace(/[^a-z0-9]+$/, "")}-${digest}`;
}

/** The controller's decision on an object. Pending: the controller has not seen this generation yet. */
export type Acceptance =
  | { readonly state: "accepted"; readonly id: number; readonly nodeName: string }
  | { readonly state: "refused"; readonly reason: string; readonly message: string }
  | { readonly state: "pending" };

/** Returns the decision that the object's status shows. */
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
 * Returns the claims with which the controller has accepted the object. Older controllers wrote no claims: their
 * objects hold all that they ask for, and the Remote End ID of their sessions is the name without the namespace.
 */
export function heldOf(object: L2tpObject): HeldObject {
  const { metadata, status } = object;
  const accepted = conditionOf(object, "Accepted");
  const isCurrent =
    accepted?.status === "True" && accepted.observedGeneration === metadata.generation;
  const since = accepted?.lastTransitionTime ?? "";
  const id = object.kind === "L2tpTunnel" ? object.status?.tunnelId : object.status?.sessionId;
  // The spec changed while the controller was replaced: objects that are accepted as they are come first.
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

/** Returns the object's ID, from the spec or allocated; undefined: not allocated yet. */
export function idOf(object: L2tpObject): number | undefined {
  return object.kind === "L2tpTunnel"
    ? (object.spec.tunnelId ?? object.status?.tunnelId)
    : (object.spec.sessionId ?? object.status?.sessionId);
}

/**
 * Refusals after which the node removes the object, because the administrator intends it. After any other refusal the
 * last valid version stays programmed.
 */
export const TEARDOWN_REASONS: ReadonlySet<string> = new Set([
  "NamespaceNotAllowed",
  INTERFACE_NOT_ALLOWED,
  "NoTunnel",
  "Conflict",
]);
