/** Says to the API server what was decided, where it does not say so already. */
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
import type { Applied } from "../kube/applied.ts";
import type { KubeClient } from "../kube/client.ts";
import type { EventRecorder } from "../kube/events.ts";
import type { Counts } from "./cluster.ts";
import type { Decision } from "./decide.ts";

const MANAGER = "l2tp-controller";

export interface Writer {
  readonly client: KubeClient;
  readonly applied: Applied;
  readonly events: EventRecorder;
  now(): Date;
}

/** @param counts of a tunnel's sessions */
export async function writeDecision(
  writer: Writer,
  decision: Decision,
  counts: Counts | null,
): Promise<void> {
  await writeStatus(writer, decision, counts);
  if (decision.refusal === null) await handOver(writer, decision);
}

async function writeStatus(
  { client, applied, events, now }: Writer,
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
  if (saysSo(object, status, accepted)) return;
  const identity = identityOf(object);
  const hasId = (before as Record<string, unknown> | undefined)?.[idField] !== undefined;
  // Whoever gives an id must have seen that nobody else has.
  const { resourceVersion } = object.metadata;
  const metadata = hasId ? identity.metadata : { ...identity.metadata, resourceVersion };
  // Not the time, which is another one with every look.
  const saying = { ...status, conditions: [{ ...accepted, lastTransitionTime: "" }] };
  if (applied.isUnderWay("status", object.metadata, saying)) return;
  await client.apply(`${pathOf(object)}/status`, { ...identity, metadata, status }, MANAGER);
  applied.note("status", object.metadata, saying);
  const was = conditionOf(object, "Accepted");
  if (refusal !== null && (was?.status !== "False" || was.reason !== refusal.reason)) {
    events.record(object, "Warning", refusal.reason, refusal.message);
  }
}

const idFieldOf = ({ kind }: L2tpObject) => (kind === "L2tpTunnel" ? "tunnelId" : "sessionId");
/** Fields that an accepted object is given, besides its ID. */
const REMOTE_END_ID = ["remoteEndId", "remoteEndIdOctets"];
const GIVEN = ["nodeName", ...REMOTE_END_ID, "claims"];

/**
 * Fields that the object has after the decision. A refusal takes nothing back, and gives nothing: if a
 * change was refused, the version before may run.
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
    // In one of its two forms.
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

/** Of conditions only ours is compared: the others are the agent's. */
function saysSo(
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

/** Says that nobody knows whether it is programmed: its node does not answer. */
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
  // In a name of its own: what the agent says when it is back takes its place.
  const body = { ...identity, status: { conditions: [condition] } };
  await client.apply(`${pathOf(object)}/status`, body, `${MANAGER}-node`);
}

/** Shows the object to its node's agent, and keeps it until that has taken it down. */
async function handOver(
  { client, applied }: Writer,
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
  if (applied.isUnderWay("metadata", object.metadata, metadata)) return;
  await client.apply(pathOf(object), { ...identity, metadata }, MANAGER);
  applied.note("metadata", object.metadata, metadata);
}

/** The object is gone. */
export function forgetWrites({ applied }: Writer, { metadata }: L2tpObject): void {
  for (const part of ["status", "metadata"]) applied.forget(part, metadata);
}

/** Lets the object go. Its label stays where it is being deleted: its agent need not see it vanish twice. */
export async function release(client: KubeClient, object: L2tpObject): Promise<void> {
  const { finalizers = [], resourceVersion } = object.metadata;
  const metadata = {
    resourceVersion,
    finalizers: finalizers.filter((name) => name !== FINALIZER),
  };
  // Not by apply: whoever has set the finalizer, it is ours.
  await client.request({
    method: "PATCH",
    path: pathOf(object),
    body: { metadata },
    contentType: "application/merge-patch+json",
  });
}

export function nameOf(object: L2tpObject): string {
  return `${object.kind} ${keyOf(object)}`;
}
