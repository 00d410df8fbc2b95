/** The state of control connections, as plain data. */
import type { ConnectionState } from "../l2tp/control/connection-table.ts";
import type { Ending, EstablishedSession } from "../l2tp/control/session.ts";
import type { SessionPhase } from "../l2tp/control/session-tables.ts";
import type { Endpoint, TunnelControl } from "../model/model.ts";

/** The control connection to one of a tunnel's remotes. */
export interface PathState {
  readonly remote: Endpoint;
  readonly state: ConnectionState;
  readonly peerHostName: string | null;
  /** Milliseconds since the last control or data message of the peer; null: none on this connection. */
  readonly heardMsAgo: number | null;
  /** The reason why the connection is down. */
  readonly lastEnding: Ending | null;
}

/** The active remote, and the tunnel's connection to it. */
export interface TunnelControlState extends PathState {
  readonly mode: TunnelControl["mode"];
  /** The index of the active remote in `paths`. */
  readonly active: number;
  /** All remotes of the tunnel, in order of preference. */
  readonly paths: readonly PathState[];
  readonly localConnectionId: number;
  readonly peerConnectionId: number;
  readonly peerRouterId: number | null;
  readonly peerVendorName: string | null;
  /** True if the peer propagates congestion marks (RFC 9601). Absent: the process is of an earlier version. */
  readonly peerPropagatesEcn?: boolean;
  readonly window: number;
  readonly peerWindow: number;
  readonly unacknowledged: number;
  readonly sent: number;
  readonly received: number;
  readonly retransmitted: number;
  /** Messages whose digest is missing or wrong. */
  readonly unauthenticated: number;
  /** Messages that were dropped before they were decoded, mostly because they exceeded a remote's budget. */
  readonly dropped: number;
}

export interface SessionControlState {
  readonly phase: SessionPhase;
  /** null: not established. */
  readonly established: EstablishedSession | null;
  readonly lastEnding: Ending | null;
}
