/**
 * Objects keep the claims with which they were accepted, over restarts of agent and node, and while they are invalid or
 * down. The controller keeps claims in the status; an agent with a folder keeps them in its state folder.
 */
import { DATAPATHS, traitsOf } from "../../datapath/registry/datapaths.ts";
import {
  defaultRemoteEndId,
  type Held,
  type HeldObject,
  holdAll,
  type SessionClaim,
  sessionClaims,
  tunnelClaims,
} from "../../model/conflicts.ts";
import { readRemoteEndId } from "../../model/remote-end-id.ts";
import { endpointOf } from "../api/endpoint.ts";
import { TEARDOWN_REASONS } from "../api/placement.ts";
import { keyOf, type L2tpSession, type TunnelSpec } from "../api/types.ts";
import { controlMode } from "../api/validate.ts";
import type { Refusal } from "./refusal.ts";
import type { Programmed, Resolved, ResolvedSession } from "./resolved.ts";

/** Held claims by tunnel name and session key. */
export interface HeldObjects {
  readonly tunnels: ReadonlyMap<string, HeldObject>;
  readonly sessions: ReadonlyMap<string, HeldObject>;
}

export const NOTHING_HELD: HeldObjects = { tunnels: new Map(), sessions: new Map() };

/** Tests for objects that may exist in a manifest that cannot be read. */
export interface Unreadable {
  readonly tunnels: (name: string) => boolean;
  readonly sessions: (key: string) => boolean;
}

/**
 * Returns the claims that count in a conflict: those of objects that exist or cannot be read. Claims of an object that
 * an administrator refuses on purpose (TEARDOWN_REASONS) do not count while it is refused.
 * @param running programmed objects, which hold all that they ask for unless `held` has their claims
 */
export function inForce(
  held: ReadonlyMap<string, HeldObject>,
  running: Iterable<string>,
  objects: { has(key: string): boolean },
  refused: ReadonlyMap<string, Refusal>,
  isUnreadable: (key: string) => boolean,
): Map<string, Held> {
  const known = [...holdAll(running), ...held].filter(
    ([key]) =>
      (objects.has(key) || isUnreadable(key)) &&
      !TEARDOWN_REASONS.has(refused.get(key)?.reason ?? ""),
  );
  return new Map(known);
}

/**
 * Returns the session's Remote End ID: from the spec, else as decided before, else as programmed, else the default.
 * @param held undefined: not decided yet
 */
export function remoteEndIdOf(
  { spec }: Pick<L2tpSession, "spec">,
  key: string,
  held: HeldObject | undefined,
  programmed?: Programmed,
): string {
  const running = programmed?.remoteEndIds?.get(key);
  return readRemoteEndId(spec) ?? held?.remoteEndId ?? running ?? defaultRemoteEndId(key);
}

/** Returns the tunnels that have a datapath: programmed ones, and those that had a datapath before. */
export function placed(
  { tunnels, kernelTunnels }: Programmed,
  held: HeldObjects,
): Pick<Programmed, "kernelTunnels"> & { readonly tunnels: { has(name: string): boolean } } {
  const ran = [...held.tunnels].filter(
    ([name, { datapath, claims }]) =>
      !tunnels.has(name) && datapath !== undefined && claims?.length !== 0,
  );
  const inKernel = ran.filter(([, { datapath }]) => sharesNoPort(datapath));
  return {
    tunnels: new Set([...tunnels.keys(), ...ran.map(([name]) => name)]),
    kernelTunnels: new Set([...kernelTunnels, ...inKernel.map(([name]) => name)]),
  };
}

/** True if tunnels of the datapath do not share their port. @param apiName a value of spec.datapath */
function sharesNoPort(apiName: string | undefined): boolean {
  return DATAPATHS.some(({ traits }) => traits.apiName === apiName && traits.ports !== "shared");
}

/** Returns the claims that a session's spec asks for. The session need not be programmable. */
export function sessionClaim(
  object: L2tpSession,
  tunnel: TunnelSpec,
  { sessionId, remoteEndId }: { readonly sessionId: number; readonly remoteEndId: string },
): SessionClaim {
  const { tunnelRef, peerSessionId } = object.spec;
  const common = {
    ...{ key: keyOf(object), tunnel: tunnelRef.name, sessionId },
    ...nodeInterfaceOf(object),
  };
  if (tunnel.keyed) return { ...common, isKeyed: true, circuit: null };
  if (controlMode(tunnel) === "Managed") return { ...common, circuit: { remoteEndId } };
  if (peerSessionId === undefined) return { ...common, circuit: null };
  return { ...common, circuit: { peerSessionId, peer: endpointOf(tunnel, tunnel.remote) } };
}

/** Returns the claims of a resolved session. */
export function claimOf({
  session,
  tunnel,
  object,
}: Pick<ResolvedSession, "session" | "tunnel" | "object">): SessionClaim {
  const { key, sessionId, control, peerSessionId } = session;
  if (tunnel.keyed) return { key, tunnel: tunnel.name, sessionId, isKeyed: true, circuit: null };
  const circuit: SessionClaim["circuit"] =
    control === undefined
      ? { peerSessionId, peer: tunnel.remote }
      : { remoteEndId: control.remoteEndId };
  return { key, tunnel: tunnel.name, sessionId, circuit, ...nodeInterfaceOf(object) };
}

function nodeInterfaceOf({ spec }: Pick<L2tpSession, "spec">): Pick<SessionClaim, "nodeInterface"> {
  const name = spec.attachment?.interface;
  return name === undefined ? {} : { nodeInterface: name };
}

/** Returns the claims that are held after a reconcile. @param now in ISO 8601 */
export function heldAfter(
  before: HeldObjects,
  resolved: Resolved,
  isRetained: Unreadable,
  now: string,
): HeldObjects {
  const accepted = (
    known: HeldObject | undefined,
    claims: readonly string[],
    rest: Partial<HeldObject>,
  ): HeldObject => {
    const heldSome = known !== undefined && known.claims?.length !== 0;
    const { isRefused: _, ...decided } = known ?? {};
    return { ...decided, ...rest, claims, since: heldSome ? known.since : now };
  };
  return {
    tunnels: carriedOver(
      before.tunnels,
      new Map(
        Array.from(resolved.tunnels, ([name, { tunnel }]) => {
          const claims = tunnelClaims(tunnel);
          const { tunnelId: id } = tunnel;
          const datapath = traitsOf(tunnel.datapath).apiName;
          return [name, accepted(before.tunnels.get(name), claims, { id, datapath })];
        }),
      ),
      resolved.refusedTunnels,
      isRetained.tunnels,
    ),
    sessions: carriedOver(
      before.sessions,
      new Map(
        [...(resolved.waiting ?? []), ...Array.from(resolved.sessions.values(), claimOf)].map(
          (claim) => {
            const { key, sessionId: id, circuit } = claim;
            const isNamed = circuit !== null && "remoteEndId" in circuit;
            const decided = { id, ...(isNamed && { remoteEndId: circuit.remoteEndId }) };
            return [key, accepted(before.sessions.get(key), sessionClaims(claim), decided)];
          },
        ),
      ),
      resolved.refusedSessions,
      isRetained.sessions,
    ),
  };
}

function carriedOver(
  before: ReadonlyMap<string, HeldObject>,
  accepted: ReadonlyMap<string, HeldObject>,
  refused: ReadonlyMap<string, Refusal>,
  isRetained: (key: string) => boolean,
): Map<string, HeldObject> {
  const taken = new Set([...accepted.values()].flatMap(({ claims }) => claims ?? []));
  const after = new Map(accepted);
  for (const [key, held] of before) {
    const refusal = refused.get(key);
    if (accepted.has(key) || (refusal === undefined && !isRetained(key))) continue;
    // The Remote End ID stays decided, in case the object is accepted again.
    const left = held.claims?.filter((claim) => !taken.has(claim)) ?? null;
    const claims = refusal?.reason === "Conflict" ? [] : left;
    after.set(key, { ...held, claims, ...(refusal === undefined ? {} : { isRefused: true }) });
  }
  return after;
}
