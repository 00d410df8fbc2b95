/** What is heard of control connections: plain data. */
import type { ConnectionState } from "../l2tp/control/connection-table.ts";
import type { Ending, EstablishedSession } from "../l2tp/control/session.ts";
import type { SessionPhase } from "../l2tp/control/session-tables.ts";
import type { Endpoint, TunnelControl } from "../model/model.ts";

/** One of a tunnel's remotes. */
export interface PathState {
  readonly remote: Endpoint;
  readonly state: ConnectionState;
  readonly peerHostName: string | null;
  /** Milliseconds since the peer was last heard, by control or data; null: never on this connection. */
  readonly heardMsAgo: number | null;
  /** Why there is no connection any more, or not yet. */
  readonly lastEnding: Ending | null;
}

/** The remote that carries, and more of it. */
export interface TunnelControlState extends PathState {
  readonly mode: TunnelControl["mode"];
  /** Which of `paths` it is. */
  readonly active: number;
  /** All of the tunnel's remotes, in the order of preference. */
  readonly paths: readonly PathState[];
  readonly localConnectionId: number;
  readonly peerConnectionId: number;
  readonly peerRouterId: number | null;
  readonly peerVendorName: string | null;
  readonly window: number;
  readonly peerWindow: number;
  readonly unacknowledged: number;
  readonly sent: number;
  readonly received: number;
  readonly retransmitted: number;
  /** Messages that were not signed as they must be. */
  readonly unauthenticated: number;
  /** Messages that were dropped before they were decoded, most of them over a remote's budget. */
  readonly dropped: number;
}

export interface SessionControlState {
  readonly phase: SessionPhase;
  /** null: not established. */
  readonly established: EstablishedSession | null;
  readonly lastEnding: Ending | null;
}
