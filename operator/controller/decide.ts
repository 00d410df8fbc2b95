/** What the controller makes of a node's objects. Pure. */
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
import { type DefaultNamespaces, whyNotAllowed } from "../api/namespaces.ts";
import { heldOf, idOf, TEARDOWN_REASONS } from "../api/placement.ts";
import { TUNNEL_RULES } from "../api/rules.ts";
import { checkForm } from "../api/schema.ts";
import { keyOf, type L2tpObject, type L2tpSession, type L2tpTunnel } from "../api/types.ts";
import { controlMode, validateSession, validateTunnel } from "../api/validate.ts";
import { remoteEndIdOf, sessionClaim } from "../resolve/held.ts";
import type { Refusal } from "../resolve/refusal.ts";

export interface NodeView {
  readonly nodeName: string;
  /** Of the Node, in its order; null: there is no such Node. */
  readonly nodeAddresses: readonly string[] | null;
  /** The tunnels whose home is the node. */
  readonly tunnels: readonly L2tpTunnel[];
  /** The sessions in these tunnels. */
  readonly sessions: readonly L2tpSession[];
  /** Undefined: there is no such namespace. */
  namespaceLabels(namespace: string): Readonly<Record<string, string>> | undefined;
  /** Applies to tunnels without spec.allowedNamespaces. */
  readonly defaultNamespaces: DefaultNamespaces;
  /** An id for the object that is none of `taken`; the same one whenever it is asked for again. */
  allocate(object: L2tpObject, taken: ReadonlySet<number>): number;
}

/** What is to be said of an object. */
export interface Decision<T extends L2tpObject = L2tpObject> {
  readonly object: T;
  /** Null: it is accepted. */
  readonly refusal: Pick<Refusal, "reason" | "message"> | null;
  readonly nodeName: string;
  /** Null where it is refused before it gets one. */
  readonly id: number | null;
  /** Of tunnels: the node's own address of the remote's family. */
  readonly nodeAddress: string | null;
  /** Null unless it is an accepted session in a managed tunnel. */
  readonly remoteEndId: string | null;
  /** The claims that it holds then; null: its status does not say, and is left so. */
  readonly claims: readonly string[] | null;
}

/** The node that has, or is to have, the tunnel: once given, it stays. */
export function homeOf({ spec, status }: L2tpTunnel): string {
  return status?.nodeName ?? spec.nodeName;
}

export function isLeaving({ metadata }: L2tpObject): boolean {
  return metadata.deletionTimestamp !== undefined;
}

/** An object of each name, and what is said of it. Objects that are being deleted hold their ids. */
export function decideNode(view: NodeView): Decision[] {
  const tunnels = decideTunnels(view);
  const staying = tunnels.filter(({ object }) => !isLeaving(object));
  const byName = new Map(staying.map((decision) => [decision.object.metadata.name, decision]));
  return [...tunnels, ...decideSessions(view, byName)];
}

const NO_CLAIMS = { nodeAddress: null, remoteEndId: null, claims: null };

/** Of a session whose tunnel there is not. */
export function decideOrphan(object: L2tpSession): Decision<L2tpSession> {
  const { name } = object.spec.tunnelRef;
  const message = `spec.tunnelRef.name "${name}": no such L2tpTunnel; create it, or correct the name`;
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
    return { key: keyOf(object), tunnel: name, sessionId: ids.sessionId, circuit: null, kept };
  });
  return withClaims(
    drafts,
    settleSessions(claims, inForce(drafts)).refused,
    new Map(claims.map((claim) => [claim.key, sessionClaims(claim)])),
  );
}

/** True if the tunnel is as its spec says. If a change was refused, the version before runs. */
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

/** Claims that count: an object keeps them while it is invalid, since its version before runs. */
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

/** By the object as it was read: it is looked at anew with every pass of its node. */
const formsSeen = new WeakMap<L2tpObject, Decision["refusal"]>();

/** What the API server may have let through: an old one does not know of CEL. */
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
    const message = `spec.nodeName "${spec.nodeName}": the tunnel stays on node ${nodeName}; ${TUNNEL_RULES.nodeIsFinal.remedy}`;
    return { reason: "NodeImmutable", message };
  }
  if (nodeAddresses !== null) return null;
  const message = `spec.nodeName "${nodeName}": no such Node; correct it (kubectl get nodes), or wait until the node has joined`;
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
    const message = `L2tpTunnel ${object.spec.tunnelRef.name} is being deleted; name another one`;
    return { reason: "NoTunnel", message };
  }
  const { namespace } = object.metadata;
  const labels = view.namespaceLabels(namespace);
  const message = whyNotAllowed(tunnel, namespace, labels, view.defaultNamespaces);
  return message === null ? null : { reason: "NamespaceNotAllowed", message };
}

/** The node's address of the remote's family. */
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
  // Which address an interface has is for the node to say; one name is one address.
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
