/** Writes decisions to the API server, unless the objects already have them. */
import { isDeepStrictEqual } from "node:util";
import { writeRemoteEndId } from "../../model/remote-end-id.ts";
import { datedCondition } from "../api/conditions.ts";
import { FINALIZER, NODE_LABEL, nodeLabel } from "../api/placement.ts";
import {
  type Condition,
  conditionOf,
  identityOf,
  keyOf,
  type L2tpObject,
  pathOf,
} from "../api/types.ts";
import type { KubeClient } from "../kube/client.ts";
import type { EventRecorder } from "../kube/events.ts";
import type { PendingApplies } from "../kube/pending-applies.ts";
import type { Counts } from "./cluster.ts";
import type { Decision } from "./decide.ts";

const MANAGER = "l2tp-controller";

/** Connection to the API server, and memory of pending writes. */
export interface Writer {
  readonly client: KubeClient;
  readonly pending: PendingApplies;
  readonly events: EventRecorder;
  now(): Date;
}

/**
 * Writes the decision to the object's status. Assigns an accepted object to its node.
 * @param counts numbers of a tunnel's sessions; null for a session
 */
export async function writeDecision(
  writer: Writer,
  decision: Decision,
  counts: Counts | null,
): Promise<void> {
  await writeStatus(writer, decision, counts);
  if (decision.refusal === null) await assignToNode(writer, decision);
}

async function writeStatus(
  { client, pending, events, now }: Writer,
  decision: Decision,
  counts: Counts | null,
): Promise<void> {
  const { object, refusal, nodeAddress } = decision;
  const before = object.status;
  const accepted = acceptedCondition(object, refusal, now());
  const idField = idFieldOf(object);
  const status: Record<string, unknown> = {
    ...given(decision),
    ...(nodeAddress === null ? {} : { nodeAddress }),
    ...(counts === null ? {} : { sessions: counts }),
    conditions: [accepted],
  };
  if (isWritten(object, status, accepted)) return;
  const identity = identityOf(object);
  const hasId = (before as Record<string, unknown> | undefined)?.[idField] !== undefined;
  // The resource version makes allocating an ID fail if another writer has allocated one meanwhile.
  const { resourceVersion } = object.metadata;
  const metadata = hasId ? identity.metadata : { ...identity.metadata, resourceVersion };
  // Compared without the time, which differs at each reconcile.
  const timeless = { ...status, conditions: [{ ...accepted, lastTransitionTime: "" }] };
  if (pending.isPending("status", object.metadata, timeless)) return;
  await client.apply(`${pathOf(object)}/status`, { ...identity, metadata, status }, MANAGER);
  pending.note("status", object.metadata, timeless);
  const was = conditionOf(object, "Accepted");
  if (refusal !== null && (was?.status !== "False" || was.reason !== refusal.reason)) {
    events.record(object, "Warning", refusal.reason, refusal.message);
  }
}

const idFieldOf = ({ kind }: L2tpObject) => (kind === "L2tpTunnel" ? "tunnelId" : "sessionId");
/** Status fields of an accepted object, besides its ID. */
const REMOTE_END_ID = ["remoteEndId", "remoteEndIdOctets"];
const GIVEN = ["nodeName", ...REMOTE_END_ID, "claims"];

/**
 * Returns the status fields after the decision. A refusal neither removes nor adds a field, because the
 * previous version may run.
 */
function given({ object, refusal, nodeName, id, remoteEndId, claims }: Decision) {
  const idField = idFieldOf(object);
  const before = (object.status ?? {}) as Readonly<Record<string, unknown>>;
  const kept = Object.fromEntries(
    [...GIVEN, idField].flatMap((field) =>
      before[field] === undefined ? [] : [[field, before[field]]],
    ),
  );
  if (refusal === null) {
    if (remoteEndId === null) return { ...kept, nodeName, [idField]: id, claims };
    // The Remote End ID is in one of two fields.
    for (const field of REMOTE_END_ID) delete kept[field];
    return { ...kept, nodeName, [idField]: id, ...writeRemoteEndId(remoteEndId), claims };
  }
  return { ...kept, ...(claims === null ? {} : { claims }) };
}

function acceptedCondition(object: L2tpObject, refusal: Decision["refusal"], now: Date): Condition {
  const accepted = {
    type: "Accepted",
    status: refusal === null ? "True" : "False",
    reason: refusal?.reason ?? "Valid",
    message: refusal?.message ?? "The object is valid.",
  } as const;
  const known = object.status?.conditions ?? [];
  return datedCondition(accepted, known, object.metadata.generation, now);
}

/** True if the object's status has these fields and the condition Accepted. The agent owns the other conditions. */
function isWritten(
  object: L2tpObject,
  status: Readonly<Record<string, unknown>>,
  accepted: Condition,
): boolean {
  if (object.status === undefined) return false;
  const ours = Object.entries(status).filter(([field]) => field !== "conditions");
  const fields = object.status as Readonly<Record<string, unknown>>;
  if (!ours.every(([field, value]) => isDeepStrictEqual(fields[field], value))) return false;
  return isDeepStrictEqual({ ...conditionOf(object, "Accepted") }, { ...accepted });
}

/** Writes Programmed=Unknown, because the node is not ready. */
export async function writeUnknown(
  { client, now }: Writer,
  object: L2tpObject,
  message: string,
): Promise<void> {
  if (conditionOf(object, "Programmed")?.status !== "True") return;
  const identity = identityOf(object);
  const condition: Condition = {
    type: "Programmed",
    status: "Unknown",
    reason: "NodeNotReady",
    message,
    observedGeneration: object.metadata.generation ?? 0,
    lastTransitionTime: now().toISOString(),
  };
  // The field manager differs from the agent's, so that the agent's next status replaces the condition.
  const body = { ...identity, status: { conditions: [condition] } };
  await client.apply(`${pathOf(object)}/status`, body, `${MANAGER}-node`);
}

/** Sets the node label, by which the agent selects its objects, and the finalizer. */
async function assignToNode(
  { client, pending }: Writer,
  { object, nodeName }: Decision,
): Promise<void> {
  const { labels, finalizers } = object.metadata;
  const label = nodeLabel(nodeName);
  if (labels?.[NODE_LABEL] === label && finalizers?.includes(FINALIZER)) return;
  const identity = identityOf(object);
  const metadata = {
    ...identity.metadata,
    labels: { [NODE_LABEL]: label },
    finalizers: [FINALIZER],
  };
  if (pending.isPending("metadata", object.metadata, metadata)) return;
  await client.apply(pathOf(object), { ...identity, metadata }, MANAGER);
  pending.note("metadata", object.metadata, metadata);
}

/** Forgets the pending writes of an object that does not exist anymore. */
export function forgetWrites({ pending }: Writer, { metadata }: L2tpObject): void {
  for (const part of ["status", "metadata"]) pending.forget(part, metadata);
}

/** Removes the controller's finalizer. The label stays, so that the agent sees the deletion once. */
export async function release(client: KubeClient, object: L2tpObject): Promise<void> {
  const { finalizers = [], resourceVersion } = object.metadata;
  const metadata = {
    resourceVersion,
    finalizers: finalizers.filter((name) => name !== FINALIZER),
  };
  // A merge patch removes the finalizer regardless of its field manager. Server-side apply would not.
  await client.request({
    method: "PATCH",
    path: pathOf(object),
    body: { metadata },
    contentType: "application/merge-patch+json",
  });
}

/** Returns "L2tpSession shop/lan", for log lines. */
export function nameOf(object: L2tpObject): string {
  return `${object.kind} ${keyOf(object)}`;
}
