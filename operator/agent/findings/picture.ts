/** The input of the doctor's findings, the same for every datapath. A finding is a pure function of a part of it. */
import type { SessionState, TunnelState } from "../../../datapath/datapath.ts";
import type { NodeInterface } from "../../../model/attachments/index.ts";
import type { EndpointCounters, Session, SessionCounters } from "../../../model/model.ts";
import type { Finding } from "../../agent-protocol.ts";
import type { TunnelWire } from "./wire.ts";

/** The network around a session. */
export interface NodeKnowledge {
  /** The error's name if the tunnel's remote has no route; null: it has one. */
  noRoute(tunnel: string): string | null;
  /** The largest MTU that the path of the tunnel carries for the session; null: unknown. */
  fittingMtu(session: string): number | null;
  /** The session's device: its place, its state, and its MTU in bytes if known; null: not found. */
  device(
    session: string,
  ): { readonly place: string; readonly up: boolean; readonly mtu?: number } | null;
  /** True if a pod, a node interface or another session uses it. */
  isAttached(session: string): boolean;
  /** Returns the node interface of the session; null: the session is for pods. */
  nodeInterface(session: string): NodeInterface | null;
  /** False: the session is switched within the datapath process. Absent: each attached session has a device. */
  hasDevice?(session: string): boolean;
}

/** A tunnel, and its changes during the examination. */
export interface TunnelCase {
  readonly state: TunnelState;
  /** The tunnel in the first snapshot; undefined: it is new. */
  readonly before: TunnelState | undefined;
  /** The growth of its endpoint's counters, including what only the capture shows. */
  readonly grown: EndpointCounters;
  /** Its datagrams; null: none were captured. */
  readonly wire: TunnelWire | null;
  readonly sessions: readonly SessionCase[];
  readonly around: NodeKnowledge;
}

/** A session, and its changes during the examination. */
export interface SessionCase {
  readonly state: SessionState;
  /** The session with the IDs of its frames; null: it is not negotiated. */
  readonly onWire: Session | null;
  /** Undefined: its tunnel does not exist. */
  readonly tunnel: TunnelState | undefined;
  /** The growth of its counters, including what only the capture shows. */
  readonly grown: SessionCounters;
  /** Its tunnel's datagrams; null: none were captured. */
  readonly wire: TunnelWire | null;
  readonly around: NodeKnowledge;
}

/** A finding without its object, which doctor.ts adds. */
export type Fault = Omit<Finding, "object">;

export type TunnelFinding = (of: TunnelCase) => Fault | null;
export type SessionFinding = (of: SessionCase) => Fault | null;

/** Returns a fault that loses frames or keeps an object from its desired state. */
export function error(finding: string, remedy: string): Fault {
  return { severity: "error", finding, remedy };
}

/** Returns a fault that may be intended, or that is at the peer. */
export function warning(finding: string, remedy: string): Fault {
  return { severity: "warning", finding, remedy };
}

/** Returns "1 frame", "2 frames". */
export function counted(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** Returns the MTU of the session's device, in bytes. */
export function deviceMtu({ state: { session }, around }: SessionCase): number {
  return around.device(session.key)?.mtu ?? session.mtu;
}

/** True if the session is static or negotiated. Otherwise its conditions say why. */
export function isEstablished({ state: { control } }: SessionCase): boolean {
  return control === undefined || control.established !== null;
}
