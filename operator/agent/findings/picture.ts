/** The node as the doctor's findings see it, in every datapath alike. A finding is a pure function of a part of it. */
import type { SessionState, TunnelState } from "../../../datapath/datapath.ts";
import type { EndpointCounters, Session, SessionCounters } from "../../../model/model.ts";
import type { Finding } from "../../agent-protocol.ts";
import type { TunnelWire } from "./wire.ts";

/** The network around a session. */
export interface NodeKnowledge {
  /** errno's name where there is no route to the remote of the tunnel. */
  noRoute(tunnel: string): string | null;
  /** The largest MTU that the path of the tunnel carries for the session; null: unknown. */
  fittingMtu(session: string): number | null;
  /** The session's device: where it stands, whether it is up, and its MTU if known; null: not found. */
  device(
    session: string,
  ): { readonly place: string; readonly up: boolean; readonly mtu?: number } | null;
  /** A pod has it, or another session. */
  isAttached(session: string): boolean;
  /** False: it is switched within the datapath process. Absent: all have one while they are attached. */
  hasDevice?(session: string): boolean;
}

/** A tunnel, and what happened to it while the doctor looked. */
export interface TunnelCase {
  readonly state: TunnelState;
  /** As the first of two looks saw it; undefined: it is new. */
  readonly before: TunnelState | undefined;
  /** How much the counters of its endpoint have grown, with what the capture shows besides. */
  readonly grown: EndpointCounters;
  /** Its datagrams; null: none were captured. */
  readonly wire: TunnelWire | null;
  readonly sessions: readonly SessionCase[];
  readonly around: NodeKnowledge;
}

/** A session, and what happened to it while the doctor looked. */
export interface SessionCase {
  readonly state: SessionState;
  /** As its frames are on the wire; null: its ends have not agreed. */
  readonly onWire: Session | null;
  /** Undefined: its tunnel is gone. */
  readonly tunnel: TunnelState | undefined;
  /** How much its counters have grown, with what the capture shows besides. */
  readonly grown: SessionCounters;
  /** Its tunnel's datagrams; null: none were captured. */
  readonly wire: TunnelWire | null;
  readonly around: NodeKnowledge;
}

/** A finding without its object, which the list of findings adds. */
export type Fault = Omit<Finding, "object">;

export type TunnelFinding = (of: TunnelCase) => Fault | null;
export type SessionFinding = (of: SessionCase) => Fault | null;

/** Frames are lost, or an object is not what it should be. */
export function error(finding: string, remedy: string): Fault {
  return { severity: "error", finding, remedy };
}

/** It may be as it should, or nothing is wrong at this end. */
export function warning(finding: string, remedy: string): Fault {
  return { severity: "warning", finding, remedy };
}

/** "1 frame", "2 frames". */
export function counted(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** The MTU of the session's device, in bytes. */
export function deviceMtu({ state: { session }, around }: SessionCase): number {
  return around.device(session.key)?.mtu ?? session.mtu;
}

/** False: its ends have not agreed, and its conditions say why. */
export function isEstablished({ state: { control } }: SessionCase): boolean {
  return control === undefined || control.established !== null;
}
