/** What is heard of control connections: plain data. */
import type { ConnectionState } from "../../l2tp/control/connection-table.ts";
import type { Ending, EstablishedSession } from "../../l2tp/control/session.ts";
import type { SessionPhase } from "../../l2tp/control/session-tables.ts";
import type { TunnelControl } from "../../l2tp/model.ts";

export interface TunnelControlState {
  readonly mode: TunnelControl["mode"];
  readonly state: ConnectionState;
  readonly localConnectionId: number;
  readonly peerConnectionId: number;
  readonly peerHostName: string | null;
  readonly peerRouterId: number | null;
  readonly peerVendorName: string | null;
  /** Milliseconds since the peer was last heard, by control or data; null: never on this connection. */
  readonly heardMsAgo: number | null;
  readonly lastEnding: Ending | null;
  readonly window: number;
  readonly peerWindow: number;
  readonly unacknowledged: number;
  readonly sent: number;
  readonly received: number;
  readonly retransmitted: number;
  /** Messages that were not signed as they must be. */
  readonly unauthenticated: number;
}

export interface SessionControlState {
  readonly phase: SessionPhase;
  /** null: not established. */
  readonly established: EstablishedSession | null;
  readonly lastEnding: Ending | null;
}
