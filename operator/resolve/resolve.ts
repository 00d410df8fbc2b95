/**
 * Resolves a node's objects to the tunnels and sessions of its datapaths. An object that cannot be resolved is refused
 * with a reason, and does not affect the others.
 */

import { FALLBACK, traitsOf } from "../../datapath/registry/datapaths.ts";
import {
  allocateId,
  type HeldObject,
  type SessionClaim,
  settleSessions,
  settleTunnels,
} from "../../model/conflicts.ts";
import { pickFeatures } from "../../model/features.ts";
import type { Session, Tunnel } from "../../model/model.ts";
import { sessionMtu } from "../../model/mtu.ts";
import { describeProblem, type FieldProblem } from "../../model/problem.ts";
import { cookieProblem, parseCookie } from "../api/cookie.ts";
import { parseDuration } from "../api/duration.ts";
import { endpointOf } from "../api/endpoint.ts";
import { whyNotAllowedInFolder } from "../api/namespaces.ts";
import {
  type CookieSpec,
  keyOf,
  type L2tpSession,
  type L2tpTunnel,
  type SessionSpec,
  type TunnelSpec,
} from "../api/types.ts";
import { validateSession, validateTunnel } from "../api/validate.ts";
import { requireFitting, sessionControl, tunnelControl } from "./control.ts";
import {
  chooseDatapath,
  type DatapathContext,
  sharedEndpoints,
  type TunnelNeighbors,
} from "./datapaths.ts";
import { type NodePaths, resolveEnds } from "./ends.ts";
import {
  claimOf,
  type HeldObjects,
  inForce,
  NOTHING_HELD,
  placed,
  remoteEndIdOf,
  sessionClaim,
  type Unreadable,
} from "./held.ts";
import type { Intake } from "./intake.ts";
import { keyedFields, keyedSession } from "./keyed.ts";
import { requireInterface } from "./node-interfaces.ts";
import { previousCookie } from "./previous-cookie.ts";
import { type Refusal, RefusalError } from "./refusal.ts";
import type { Programmed, Resolved, ResolvedSession, ResolvedTunnel } from "./resolved.ts";
import { readSecret, type SecretReader } from "./secret.ts";
import { modeName, pseudowireTypeOf, requireCarriable, requireSwitchable } from "./session-kind.ts";
import { type HeldMtu, settleMtu } from "./session-mtu.ts";
import { withSwitches } from "./switches.ts";

export interface ResolveContext {
  readonly nodeName: string;
  readonly underlay: NodePaths;
  readonly secrets: SecretReader;
  readonly datapaths: DatapathContext;
  /** The programmed objects: they win conflicts, keep their IDs, and provide the MTU while there is no route. */
  readonly programmed: Programmed & {
    readonly underlayMtus: ReadonlyMap<string, number>;
  };
  /** The reasons why prefixes of keyed tunnels cannot be routed to the node. */
  readonly prefixProblems?: ReadonlyMap<string, string>;
  /** Claims with which objects were accepted, programmed or not. */
  readonly held?: HeldObjects;
  readonly isUnreadable?: Unreadable;
  /** MTUs of attached sessions, by key: they do not change with the path. */
  readonly heldMtus?: ReadonlyMap<string, HeldMtu>;
}

const NONE_UNREADABLE: Unreadable = { tunnels: () => false, sessions: () => false };

/** Returns the resolved objects, and the refusals. */
export function resolve(intake: Intake, context: ResolveContext): Resolved {
  const refusedTunnels = new Map<string, Refusal>();
  const refusedSessions = new Map<string, Refusal>();
  const here = [...intake.tunnels.values()].filter(
    ({ spec }) => spec.nodeName === context.nodeName,
  );
  const { programmed, held = NOTHING_HELD, isUnreadable = NONE_UNREADABLE } = context;
  const tunnelIds = takenIds(
    here.map(({ spec }) => spec.tunnelId),
    programmed.tunnels,
    held.tunnels,
  );
  const located = collect(here, refusedTunnels, (object) =>
    resolveTunnel(object, tunnelIds, context),
  );
  const shared = sharedEndpoints([...located.values()], placed(programmed, held));
  const sessionsOf = sessionsWithSay(intake, programmed);
  const drafts = collect(located.values(), refusedTunnels, (tunnel) =>
    withDatapath(tunnel, { shared, sessions: sessionsOf }, context.datapaths),
  );
  const tunnelLosers = settleTunnels(
    Array.from(drafts.values(), ({ tunnel }) => tunnel),
    inForce(
      held.tunnels,
      programmed.tunnels.keys(),
      intake.tunnels,
      refusedTunnels,
      isUnreadable.tunnels,
    ),
  ).refused;
  refuseLosers(tunnelLosers, refusedTunnels);
  const tunnels = new Map([...drafts].filter(([name]) => !tunnelLosers.has(name)));

  const ours = [...intake.sessions.values()].filter(({ spec }) =>
    isOnNode(intake, spec, context.nodeName),
  );
  const sessionIds = takenIds(
    ours.map(({ spec }) => spec.sessionId),
    programmed.sessions,
    held.sessions,
  );
  const sessionDrafts = collect(ours, refusedSessions, (object) =>
    resolveSession(object, intake, tunnels, sessionIds, context),
  );
  const waiting = ours.flatMap((object) => {
    const isWaiting = refusedSessions.get(keyOf(object))?.condition === "Programmed";
    // The spec of a refused tunnel is not used: its sessions keep their claims.
    const isKnown = refusedTunnels.get(object.spec.tunnelRef.name)?.condition !== "Accepted";
    return isWaiting && isKnown ? claimOfWaiting(object, intake, sessionIds, context) : [];
  });
  const losers = settleSessions(
    [...Array.from(sessionDrafts.values(), claimOf), ...waiting],
    inForce(
      held.sessions,
      programmed.sessions.keys(),
      intake.sessions,
      refusedSessions,
      isUnreadable.sessions,
    ),
  ).refused;
  refuseLosers(losers, refusedSessions);
  const keeps = waiting.filter(({ key }) => !losers.has(key));
  const sessions = new Map([...sessionDrafts].filter(([key]) => !losers.has(key)));
  const plain = { tunnels, sessions, refusedTunnels, refusedSessions };
  const resolved = withSwitches(plain, intake);
  return keeps.length === 0 ? resolved : { ...resolved, waiting: keeps };
}

/** Returns the claims of a waiting session; empty if its tunnel cannot be read. */
function claimOfWaiting(
  object: L2tpSession,
  intake: Intake,
  ids: Set<number>,
  context: ResolveContext,
): SessionClaim[] {
  const tunnel = intake.tunnels.get(object.spec.tunnelRef.name);
  if (tunnel === undefined) return [];
  return [sessionClaim(object, tunnel.spec, idsOf(object, ids, context))];
}

/** Returns the session's IDs: from the spec, else as they were before, else allocated. */
function idsOf(
  object: L2tpSession,
  ids: Set<number>,
  { programmed, held = NOTHING_HELD }: ResolveContext,
) {
  const key = keyOf(object);
  const known = held.sessions.get(key);
  const sessionId =
    object.spec.sessionId ?? programmed.sessions.get(key) ?? known?.id ?? allocateId(key, ids);
  ids.add(sessionId);
  return { sessionId, remoteEndId: remoteEndIdOf(object, key, known, programmed) };
}

/**
 * Refuses sessions whose session ID belongs to a retained session: a session with an invalid manifest, which is still
 * programmed and was not part of the conflict resolution.
 */
export function keepLastValid(
  resolved: Resolved,
  programmed: Programmed,
  isRetained: (key: string) => boolean,
): Resolved {
  const holders = new Map<number, string>();
  for (const [key, id] of programmed.sessions) {
    if (!resolved.sessions.has(key) && isRetained(key)) holders.set(id, key);
  }
  const sessions = new Map(resolved.sessions);
  const refusedSessions = new Map(resolved.refusedSessions);
  for (const [key, { session, tunnel }] of resolved.sessions) {
    if (tunnel.keyed) continue;
    const holder = holders.get(session.sessionId);
    if (holder === undefined) continue;
    sessions.delete(key);
    const message = `spec.sessionId: ${session.sessionId}: used by L2tpSession ${holder}, whose manifest is invalid; fix that manifest, or use another ID`;
    refusedSessions.set(key, { condition: "Accepted", reason: "Conflict", message });
  }
  return { ...resolved, sessions, refusedSessions };
}

/** True if the session's tunnel is on the node, or missing: each node reports a missing tunnel. */
function isOnNode(intake: Intake, { tunnelRef }: SessionSpec, nodeName: string): boolean {
  const tunnel = intake.tunnels.get(tunnelRef.name);
  return tunnel === undefined || tunnel.spec.nodeName === nodeName;
}

/** Returns the IDs that must not be allocated: those of specs, and those in use. */
function takenIds(
  asked: readonly (number | undefined)[],
  programmed: ReadonlyMap<string, number>,
  held: ReadonlyMap<string, HeldObject>,
): Set<number> {
  const kept = Array.from(held.values(), ({ id }) => id);
  return new Set([...asked, ...kept, ...programmed.values()].filter((id) => id !== undefined));
}

function collect<T extends L2tpTunnel | L2tpSession | ResolvedTunnel, R>(
  items: Iterable<T>,
  refused: Map<string, Refusal>,
  resolveOne: (item: T) => R,
): Map<string, R> {
  const results = new Map<string, R>();
  for (const item of items) {
    const key = keyOf("object" in item ? item.object : item);
    try {
      results.set(key, resolveOne(item));
    } catch (error) {
      if (!(error instanceof RefusalError)) throw error;
      refused.set(key, error.refusal);
    }
  }
  return results;
}

function refuseLosers(
  losers: ReadonlyMap<string, FieldProblem>,
  refused: Map<string, Refusal>,
): void {
  for (const [key, problem] of losers) {
    const message = describeProblem(problem);
    refused.set(key, { condition: "Accepted", reason: "Conflict", message });
  }
}

function requireValid(problems: readonly FieldProblem[]): void {
  if (problems.length === 0) return;
  throw new RefusalError("Accepted", "Invalid", problems.map(describeProblem).join("; "));
}

/** @throws RefusalError if the local address that the node chose is that of a remote */
function requireOtherEnd(spec: TunnelSpec, address: string): void {
  if (spec.local?.address !== undefined) return;
  const problems = validateTunnel({ ...spec, local: { ...spec.local, address } });
  requireValid(problems.filter(({ path }) => !path.startsWith("spec.local.")));
}

function resolveTunnel(
  object: L2tpTunnel,
  ids: Set<number>,
  context: ResolveContext,
): ResolvedTunnel {
  const { metadata, spec } = object;
  requireValid(validateTunnel(spec));
  const { local, device, ...ends } = resolveEnds(object, context);
  const { programmed, held = NOTHING_HELD } = context;
  const tunnelId =
    spec.tunnelId ??
    programmed.tunnels.get(metadata.name) ??
    held.tunnels.get(metadata.name)?.id ??
    allocateId(metadata.name, ids);
  ids.add(tunnelId);
  const tunnel: Tunnel = {
    name: metadata.name,
    // Replaced by withDatapath().
    datapath: FALLBACK.name,
    tunnelId,
    peerTunnelId: spec.peerTunnelId ?? 0,
    encapsulation: spec.encapsulation ?? "UDP",
    local: endpointOf(spec, { address: local, port: spec.local?.port }),
    remote: endpointOf(spec, spec.remote),
    ...optional("device", device),
    // IP encapsulation has no UDP checksum to omit.
    udpChecksum: spec.encapsulation === "IP" || (spec.udpChecksum ?? true),
    ...pickFeatures(spec),
    ...optional("dscp", dscpOf(spec)),
    ...optional("ecn", spec.ecn ? (true as const) : null),
    ...keyedFields(spec, context.prefixProblems ?? new Map()),
    ...optional("control", tunnelControl(spec, local, context.secrets)),
  };
  requireOtherEnd(spec, local);
  return { object, tunnel, ...ends, notInKernel: null };
}

/**
 * Returns the sessions that can exclude a datapath for a tunnel with datapath Auto, by the tunnel's name. A tunnel in
 * the kernel stays there: otherwise one session's spec could interrupt the pods of other sessions.
 */
function sessionsWithSay(
  { tunnels, sessions }: Intake,
  { kernelTunnels }: Programmed,
): ReadonlyMap<string, readonly L2tpSession[]> {
  const may = ({ metadata, spec }: L2tpSession) => {
    const tunnel = tunnels.get(spec.tunnelRef.name);
    return (
      tunnel !== undefined &&
      !kernelTunnels.has(tunnel.metadata.name) &&
      whyNotAllowedInFolder(tunnel, metadata.namespace) === null
    );
  };
  return Map.groupBy([...sessions.values()].filter(may), ({ spec }) => spec.tunnelRef.name);
}

function withDatapath(
  located: ResolvedTunnel,
  others: TunnelNeighbors,
  context: DatapathContext,
): ResolvedTunnel {
  const { datapath, notInKernel } = chooseDatapath(located, others, context);
  return { ...located, tunnel: { ...located.tunnel, datapath }, notInKernel };
}

function resolveSession(
  object: L2tpSession,
  intake: Intake,
  tunnels: ReadonlyMap<string, ResolvedTunnel>,
  ids: Set<number>,
  context: ResolveContext,
): ResolvedSession {
  const { metadata, spec } = object;
  requireValid(validateSession(spec));
  requireSwitchable(object, context.heldMtus?.has(keyOf(object)) === true);
  const { tunnel, underlayMtu, object: tunnelObject } = requireTunnel(object, intake, tunnels);
  requireFitting(object, tunnel);
  requireCarriable(object, tunnel, traitsOf(tunnel.datapath), context.datapaths.kernel);
  const key = keyOf(object);
  const { sessionId, remoteEndId } = idsOf(object, ids, context);
  const cookie = (field: keyof NonNullable<SessionSpec["cookies"]>) =>
    readCookie(`spec.cookies.${field}`, metadata.namespace, spec.cookies?.[field], context.secrets);
  const txCookie = cookie("transmit");
  const rxCookie = cookie("receive");
  const previousRxCookie = previousCookie(cookie("receivePrevious"), rxCookie);
  const { type, field: pseudowire } = pseudowireTypeOf(object);
  const terms = { remoteEndId, rxCookie, pseudowireType: type.number };
  const control = sessionControl(tunnelObject, tunnel, terms);
  const l2SpecificSublayer = spec.l2SpecificSublayer ?? "Default";
  const header = control === null ? { l2SpecificSublayer, txCookie } : LARGEST_HEADER;
  const fits = (pathMtu: number) => sessionMtu(pathMtu, tunnel, { ...header, ...pseudowire });
  const { mtu, pathMtu } = settleMtu(spec.mtu, underlayMtu, fits, context.heldMtus?.get(key));
  const session: Session = {
    key,
    tunnel: tunnel.name,
    ...pseudowire,
    sessionId,
    peerSessionId: spec.peerSessionId ?? 0,
    l2SpecificSublayer,
    rxCookie: control === null ? rxCookie : "",
    ...optional("previousRxCookie", previousRxCookie),
    ...keyedSession({ rxCookie, txCookie }, tunnel),
    txCookie,
    sequencing: {
      send: spec.sequencing?.send ?? false,
      receive: spec.sequencing?.receive ?? false,
      reorderTimeoutMs: parseDuration(spec.sequencing?.reorderTimeout ?? "0ms") ?? 0,
    },
    mtu,
    ...optional("control", control),
  };
  return { object, session, tunnel, pathMtu, mode: modeName(object) };
}

/** Returns the tunnel's DSCP; null: 0, which is the default. */
function dscpOf({ dscp = 0 }: TunnelSpec): number | "Copy" | null {
  if (typeof dscp === "string") return "Copy";
  return dscp === 0 ? null : dscp;
}

/** The largest header that the ends can negotiate. */
const LARGEST_HEADER = { l2SpecificSublayer: "Default", txCookie: "0".repeat(16) } as const;

function optional<K extends string, T>(key: K, value: T | null): { [key in K]?: T } {
  return (value === null ? {} : { [key]: value }) as { [key in K]?: T };
}

function requireTunnel(
  session: L2tpSession,
  intake: Intake,
  tunnels: ReadonlyMap<string, ResolvedTunnel>,
): ResolvedTunnel {
  const { metadata, spec } = session;
  const { name } = spec.tunnelRef;
  const object = intake.tunnels.get(name);
  const isBroken = intake.rejections.some(({ kind, key }) => kind === "L2tpTunnel" && key === name);
  if (object === undefined && isBroken) {
    const message = `L2tpTunnel ${name} is invalid; see its conditions (kubectl describe, or l2tpctl tunnels)`;
    throw new RefusalError("Programmed", "TunnelInvalid", message);
  }
  if (object === undefined) {
    const message = `spec.tunnelRef.name: "${name}": L2tpTunnel not found; create it, or correct the name`;
    throw new RefusalError("Accepted", "NoTunnel", message);
  }
  const whyNot = whyNotAllowedInFolder(object, metadata.namespace);
  if (whyNot !== null) throw new RefusalError("Accepted", "NamespaceNotAllowed", whyNot);
  requireInterface(session, object);
  const tunnel = tunnels.get(name);
  if (tunnel !== undefined) return tunnel;
  const message = `L2tpTunnel ${name} is not programmed; see its conditions (kubectl describe, or l2tpctl tunnels)`;
  throw new RefusalError("Programmed", "TunnelNotProgrammed", message);
}

function readCookie(
  path: string,
  namespace: string,
  cookie: CookieSpec | undefined,
  secrets: SecretReader,
): string {
  if (cookie === undefined) return "";
  const reference = cookie.valueFrom?.secretKeyRef;
  if (reference === undefined) return parseCookie(cookie.value ?? "") ?? "";
  const text = readSecret(path, { namespace, ...reference }, secrets);
  const digits = parseCookie(text);
  if (digits !== undefined) return digits;
  const where = `key ${reference.key} of Secret ${namespace}/${reference.name}`;
  const message = `${path}: ${where} ${cookieProblem(text)}; store 8 or 16 hexadecimal digits in it`;
  throw new RefusalError("Accepted", "InvalidSecret", message);
}
