/** Sessions that are switched to each other (spec.attachment.mode Switch): finds the pairs, or the reason why not. */
import { traitsOf } from "../../datapath/registry/datapaths.ts";
import { type PseudowireType, pseudowireOf } from "../../model/pseudowires/index.ts";
import { keyOf, type L2tpSession } from "../api/types.ts";
import type { Intake } from "./intake.ts";
import type { Refusal } from "./refusal.ts";
import type { Resolved, ResolvedSession, Switched } from "./resolved.ts";

type Asking = Pick<L2tpSession, "spec" | "metadata">;
type WhyNot = NonNullable<Switched["whyNot"]>;

/** Returns the key of the session in switchTo; null: the object is not in mode Switch. */
export function switchTarget({ spec, metadata }: Asking): string | null {
  const { mode, switchTo } = spec.attachment ?? {};
  if (mode !== "Switch" || switchTo === undefined) return null;
  return `${switchTo.namespace ?? metadata.namespace}/${switchTo.name}`;
}

/**
 * Joins sessions that name each other. A session without a partner keeps its IDs and its signaling, and its frames are
 * dropped.
 */
export function withSwitches(resolved: Resolved, { sessions: objects, tunnels }: Intake): Resolved {
  const sessions = new Map(resolved.sessions);
  for (const [key, one] of resolved.sessions) {
    const to = switchTarget(one.object);
    if (to !== null) sessions.set(key, joined(one, to));
  }
  return { ...resolved, sessions };

  function joined(one: ResolvedSession, to: string): ResolvedSession {
    const other = resolved.sessions.get(to);
    const whyNot = whyNotSwitched(one, to, other);
    if (whyNot !== null || other === undefined) {
      return { ...one, switched: { to, whyNot, byDevices: false } };
    }
    const byDevices = [one, other].some(({ tunnel }) => traitsOf(tunnel.datapath).makesDevices);
    return {
      ...one,
      session: { ...one.session, switchTo: to },
      switched: { to, whyNot, byDevices },
    };
  }

  function whyNotSwitched(
    one: ResolvedSession,
    to: string,
    other: ResolvedSession | undefined,
  ): WhyNot | null {
    const object = other?.object ?? objects.get(to);
    if (object === undefined) {
      return {
        reason: "NoSwitchPartner",
        message: `spec.attachment.switchTo: this node has no L2tpSession ${to}; create it in a tunnel of this node, or correct the name`,
      };
    }
    if (other === undefined) return whyNotThere(object, to, resolved.refusedSessions.get(to));
    return (
      whyNotAllowed(one.object, object) ??
      whyNotAllowed(object, one.object) ??
      whyNotMutual(one.object, object) ??
      whyNotAlike(one, other)
    );
  }

  function whyNotThere(object: L2tpSession, to: string, refusal: Refusal | undefined): WhyNot {
    const tunnel = tunnels.get(object.spec.tunnelRef.name);
    if (refusal === undefined && tunnel !== undefined) {
      return {
        reason: "OtherNode",
        message: `spec.attachment.switchTo: L2tpSession ${to} belongs to node ${tunnel.spec.nodeName}; use two sessions in tunnels of one node`,
      };
    }
    const why = refusal === undefined ? "its tunnel does not exist" : refusal.message;
    return {
      reason: "PartnerRefused",
      message: `spec.attachment.switchTo: L2tpSession ${to} is not programmed: ${why}`,
    };
  }
}

/** Returns why `to` does not allow a switch from the namespace of `from`; null: it does. */
function whyNotAllowed(from: Asking, to: Asking): WhyNot | null {
  const { namespace } = from.metadata;
  if (namespace === to.metadata.namespace) return null;
  if (to.spec.attachment?.allowSwitchFrom?.includes(namespace)) return null;
  return {
    reason: "SwitchNotAllowed",
    message: `L2tpSession ${keyOf(to)} does not allow namespace ${namespace}; add ${namespace} to its spec.attachment.allowSwitchFrom`,
  };
}

function whyNotMutual(one: Asking, other: Asking): WhyNot | null {
  const back = switchTarget(other);
  const key = keyOf(one);
  if (back === key) return null;
  const found = back === null ? "is not in mode Switch" : `is switched to ${back}`;
  return {
    reason: "NotMutual",
    message: `spec.attachment.switchTo: L2tpSession ${keyOf(other)} ${found}; set its spec.attachment: {mode: Switch, switchTo: ${nameFor(other, one)}}`,
  };
}

/** Returns the value of switchTo with which the first object names the second. */
function nameFor({ metadata }: Asking, { metadata: { namespace, name } }: Asking): string {
  const within = metadata.namespace === namespace ? "" : `namespace: ${namespace}, `;
  return `{${within}name: ${name}}`;
}

function whyNotAlike({ session: one }: ResolvedSession, { session }: ResolvedSession) {
  const [ours, others] = [pseudowireOf(one), pseudowireOf(session)];
  if (carrySame(ours, others)) return null;
  return {
    reason: "TypesDiffer",
    message: `spec.pseudowireType: "${ours.name}": L2tpSession ${session.key} has ${others.name}; use one type, or Ethernet and EthernetVLAN`,
  };
}

/** True if both types have the same frame format on a device. */
function carrySame(one: PseudowireType, other: PseudowireType): boolean {
  return one.name === other.name || (one.device !== null && one.device === other.device);
}
