/** Decides which of a node's objects are accepted, and which IDs and claims they get. Pure. */
import {
  circuitClaims,
  type Held,
  type SessionClaim,
  sessionClaims,
  settleSessions,
  settleTunnels,
  type TunnelClaim,
  tunnelClaims,
} from "../../model/conflicts.ts";
import { describeProblem, type FieldProblem } from "../../model/problem.ts";
import { addressKind, canonicalAddress, parseAddress } from "../../net/ip.ts";
import { endpointOf } from "../api/endpoint.ts";
import { INTERFACE_NOT_ALLOWED, whyNotInterface } from "../api/interfaces.ts";
import { type DefaultNamespaces, whyNotAllowed } from "../api/namespaces.ts";
import { heldOf, idOf, TEARDOWN_REASONS } from "../api/placement.ts";
import { TUNNEL_RULES } from "../api/rules.ts";
import { checkForm } from "../api/schema.ts";
import { keyOf, type L2tpObject, type L2tpSession, type L2tpTunnel } from "../api/types.ts";
import { controlMode, validateSession, validateTunnel } from "../api/validate.ts";
import { remoteEndIdOf, sessionClaim } from "../resolve/held.ts";
import type { Refusal } from "../resolve/refusal.ts";

/** The objects of a node, and what decisions about them depend on. */
export interface NodeView {
  readonly nodeName: string;
  /** Internal addresses of the Node, in its order; null: the Node does not exist. */
  readonly nodeAddresses: readonly string[] | null;
  /** The tunnels whose home is the node. */
  readonly tunnels: readonly L2tpTunnel[];
  /** The sessions in these tunnels. */
  readonly sessions: readonly L2tpSession[];
  /** @returns undefined if the namespace does not exist */
  namespaceLabels(namespace: string): Readonly<Record<string, string>> | undefined;
  /** Applies to tunnels without spec.allowedNamespaces. */
  readonly defaultNamespaces: DefaultNamespaces;
  /** Returns an ID for the object that is not in `taken`. Repeated calls return the same ID. */
  allocate(object: L2tpObject, taken: ReadonlySet<number>): number;
}

/** The decision about an object, to be written to its status. */
export interface Decision<T extends L2tpObject = L2tpObject> {
  readonly object: T;
  /** Null: the object is accepted. */
  readonly refusal: Pick<Refusal, "reason" | "message"> | null;
  readonly nodeName: string;
  /** Null if the object is refused and has no ID. */
  readonly id: number | null;
  /** The node's address of the remote's family. Null for sessions, and if there is none. */
  readonly nodeAddress: string | null;
  /** Null unless it is an accepted session in a managed tunnel. */
  readonly remoteEndId: string | null;
  /** The object's claims after the decision; null: the status has no claims, and gets none. */
  readonly claims: readonly string[] | null;
}

/** Returns the node of the tunnel. An assigned node does not change. */
export function homeOf({ spec, status }: L2tpTunnel): string {
  return status?.nodeName ?? spec.nodeName;
}

/** True if the object is being deleted. */
export function isLeaving({ metadata }: L2tpObject): boolean {
  return metadata.deletionTimestamp !== undefined;
}

/** Returns a decision for each object of the node. Objects that are being deleted keep their IDs. */
export function decideNode(view: NodeView): Decision[] {
  const tunnels = decideTunnels(view);
  const staying = tunnels.filter(({ object }) => !isLeaving(object));
  const byName = new Map(staying.map((decision) => [decision.object.metadata.name, decision]));
  return [...tunnels, ...decideSessions(view, byName)];
}

const NO_CLAIMS = { nodeAddress: null, remoteEndId: null, claims: null };

/** Returns the decision for a session whose tunnel does not exist. */
export function decideOrphan(object: L2tpSession): Decision<L2tpSession> {
  const { name } = object.spec.tunnelRef;
  const message = `spec.tunnelRef.name: "${name}": L2tpTunnel not found; create it, or correct the name`;
  const nodeName = object.status?.nodeName ?? "";
  const refusal = refuseForm(object) ?? { reason: "NoTunnel", message };
  const id = object.status?.sessionId ?? null;
  return { object, refusal, nodeName, id, ...NO_CLAIMS, claims: object.status?.claims ?? null };
}

function decideTunnels(view: NodeView): Decision<L2tpTunnel>[] {
  const taken = takenIds(view.tunnels);
  const drafts = view.tunnels.map((object): Decision<L2tpTunnel> => {
    const refusal = refuseTunnel(object, view);
    const nodeAddress = ownAddress(view.nodeAddresses ?? [], object.spec?.remote?.address ?? "");
    const id = refusal === null ? idFor(object, view, taken) : (idOf(object) ?? null);
    return { ...NO_CLAIMS, object, refusal, nodeName: view.nodeName, id, nodeAddress };
  });
  const claims = drafts.filter(isSound).map(tunnelClaimOf);
  return withClaims(
    drafts,
    settleTunnels(claims, inForce(drafts)).refused,
    new Map(claims.map((claim) => [claim.name, tunnelClaims(claim)])),
  );
}

function decideSessions(
  view: NodeView,
  tunnels: ReadonlyMap<string, Decision<L2tpTunnel>>,
): Decision<L2tpSession>[] {
  const taken = takenIds(view.sessions);
  const drafts = view.sessions.map((object): Decision<L2tpSession> => {
    const refusal = refuseSession(object, tunnels, view);
    const id = refusal === null ? idFor(object, view, taken) : (idOf(object) ?? null);
    const tunnel = tunnels.get(object.spec?.tunnelRef?.name ?? "");
    const isManaged = refusal === null && isClear(tunnel) && isManagedTunnel(tunnel.object);
    const remoteEndId = isManaged ? remoteEndIdOf(object, keyOf(object), heldOf(object)) : null;
    return { ...NO_CLAIMS, object, refusal, nodeName: view.nodeName, id, remoteEndId };
  });
  const claims = drafts.filter(isSound).map(({ object, id, remoteEndId }): SessionClaim => {
    const { name } = object.spec.tunnelRef;
    const tunnel = tunnels.get(name);
    const ids = { sessionId: id ?? 0, remoteEndId: remoteEndId ?? "" };
    if (isClear(tunnel)) return sessionClaim(object, tunnel.object.spec, ids);
    const kept = circuitClaims(heldOf(object).claims ?? []);
    const nodeInterface = object.spec.attachment?.interface;
    return {
      ...{ key: keyOf(object), tunnel: name, sessionId: ids.sessionId, circuit: null, kept },
      ...(nodeInterface === undefined ? {} : { nodeInterface }),
    };
  });
  return withClaims(
    drafts,
    settleSessions(claims, inForce(drafts)).refused,
    new Map(claims.map((claim) => [claim.key, sessionClaims(claim)])),
  );
}

/** True if the tunnel has no refused change. With a refused change, the previous version runs. */
function isClear(tunnel: Decision<L2tpTunnel> | undefined): tunnel is Decision<L2tpTunnel> {
  if (tunnel === undefined) return false;
  return tunnel.refusal === null || TEARDOWN_REASONS.has(tunnel.refusal.reason);
}

const isManagedTunnel = ({ spec }: L2tpTunnel): boolean => controlMode(spec) === "Managed";

const isSound = ({ refusal, id }: Decision): boolean => refusal === null && id !== null;

function takenIds(objects: readonly L2tpObject[]): Set<number> {
  return new Set(objects.map(idOf).filter((id) => id !== undefined));
}

function idFor(object: L2tpObject, view: NodeView, taken: Set<number>): number {
  const id = idOf(object) ?? view.allocate(object, taken);
  taken.add(id);
  return id;
}

/** Returns the claims in force. An invalid object keeps its claims, because its previous version runs. */
function inForce(drafts: readonly Decision[]): Map<string, Held> {
  const kept = drafts.filter(({ refusal }) => !TEARDOWN_REASONS.has(refusal?.reason ?? ""));
  return new Map(kept.map(({ object }) => [keyOf(object), heldOf(object)]));
}

function withClaims<T extends L2tpObject>(
  drafts: readonly Decision<T>[],
  losers: ReadonlyMap<string, FieldProblem>,
  claims: ReadonlyMap<string, readonly string[]>,
): Decision<T>[] {
  const isLost = (key: string) => losers.has(key);
  const taken = new Set([...claims].flatMap(([key, names]) => (isLost(key) ? [] : names)));
  return drafts.map((draft): Decision<T> => {
    const key = keyOf(draft.object);
    const before = draft.object.status?.claims;
    const problem = losers.get(key);
    if (problem !== undefined) {
      const refusal = { reason: "Conflict", message: describeProblem(problem) };
      return { ...draft, refusal, claims: before === undefined ? null : [] };
    }
    if (draft.refusal === null) return { ...draft, claims: claims.get(key) ?? [] };
    return { ...draft, claims: before?.filter((claim) => !taken.has(claim)) ?? null };
  });
}

/** Results of refuseForm. Each reconcile of a node checks all objects, most of them unchanged. */
const formsSeen = new WeakMap<L2tpObject, Decision["refusal"]>();

/** Checks the object's fields. Old API servers do not evaluate CEL, and accept invalid objects. */
function refuseForm(object: L2tpObject): Decision["refusal"] {
  const known = formsSeen.get(object);
  if (known !== undefined) return known;
  const refusal = checkWhole(object);
  formsSeen.set(object, refusal);
  return refusal;
}

function checkWhole(object: L2tpObject): Decision["refusal"] {
  const checked = checkForm(structuredClone(object) as unknown as Record<string, unknown>, true);
  const problems =
    "problems" in checked
      ? checked.problems
      : checked.object.kind === "L2tpTunnel"
        ? validateTunnel(checked.object.spec)
        : validateSession(checked.object.spec);
  if (problems.length === 0) return null;
  return { reason: "Invalid", message: problems.map(describeProblem).join("; ") };
}

function refuseTunnel(object: L2tpTunnel, { nodeName, nodeAddresses }: NodeView) {
  const form = refuseForm(object);
  if (form !== null) return form;
  const { spec } = object;
  if (spec.nodeName !== nodeName) {
    const message = `spec.nodeName: "${spec.nodeName}": immutable, the tunnel is on node ${nodeName}; ${TUNNEL_RULES.nodeIsFinal.remedy}`;
    return { reason: "NodeImmutable", message };
  }
  if (nodeAddresses !== null) return null;
  const message = `spec.nodeName: "${nodeName}": Node not found; correct the name (kubectl get nodes), or wait until the node joins`;
  return { reason: "NoNode", message };
}

function refuseSession(
  object: L2tpSession,
  tunnels: ReadonlyMap<string, Decision<L2tpTunnel>>,
  view: NodeView,
): Decision["refusal"] {
  const form = refuseForm(object);
  if (form !== null) return form;
  const tunnel = tunnels.get(object.spec.tunnelRef.name)?.object;
  if (tunnel === undefined) {
    const message = `spec.tunnelRef.name: "${object.spec.tunnelRef.name}": L2tpTunnel is being deleted; use another tunnel`;
    return { reason: "NoTunnel", message };
  }
  const { namespace } = object.metadata;
  const labels = view.namespaceLabels(namespace);
  const message = whyNotAllowed(tunnel, namespace, labels, view.defaultNamespaces);
  if (message !== null) return { reason: "NamespaceNotAllowed", message };
  const whyNot = whyNotInterface(tunnel, object);
  return whyNot === null ? null : { reason: INTERFACE_NOT_ALLOWED, message: whyNot };
}

/** Returns the node's first unicast address of the remote's family. */
function ownAddress(addresses: readonly string[], remote: string): string | null {
  const length = parseAddress(remote)?.length;
  const own = addresses.find((address) => {
    const bytes = parseAddress(address);
    return bytes?.length === length && addressKind(bytes ?? new Uint8Array()) === "unicast";
  });
  return own === undefined ? null : canonicalAddress(own);
}

function tunnelClaimOf({ object, id, nodeAddress }: Decision<L2tpTunnel>): TunnelClaim {
  const { metadata, spec } = object;
  const { encapsulation = "UDP", backup = [] } = spec;
  // The controller does not know an interface's address, so the interface name stands for it.
  const local = spec.local?.address ?? spec.local?.interface ?? nodeAddress ?? "";
  return {
    name: metadata.name,
    tunnelId: id ?? 0,
    encapsulation,
    local: endpointOf(spec, { ...spec.local, address: local }),
    remote: endpointOf(spec, spec.remote),
    keyed: spec.keyed ?? false,
    ...(controlMode(spec) === "Static"
      ? {}
      : { control: { backups: backup.map((remote) => endpointOf(spec, remote)) } }),
  };
}
