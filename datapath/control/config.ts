/** What the agent says of control connections, and what it hears: plain data. */
import type { CircuitStatus } from "../../l2tp/control/circuit-status.ts";
import type { ConnectionState } from "../../l2tp/control/connection-table.ts";
import type { DigestHash } from "../../l2tp/control/hashes.ts";
import type { PeeringMode } from "../../l2tp/control/peering.ts";
import type { Ending, EstablishedSession } from "../../l2tp/control/session.ts";
import type { SessionPhase } from "../../l2tp/control/session-tables.ts";

export interface TunnelControl {
  readonly mode: PeeringMode;
  /** Whether we send the SCCRQ. */
  readonly initiates: boolean;
  readonly hostName: string;
  readonly routerId: number;
  /** In hexadecimal digits; none: without authentication. A second is for a change of the secret. */
  readonly secrets: readonly string[];
  readonly digest: DigestHash;
  readonly hidesValues: boolean;
  readonly helloMs: number;
  /** null: when retransmission has ended. */
  readonly deadAfterMs: number | null;
  readonly retransmitMs: number;
  readonly retransmitCapMs: number;
  readonly maxRetransmits: number;
}

export interface SessionControl {
  readonly remoteEndId: string;
  /** Which call we place; null: we wait for the peer's. */
  readonly places: "ICRQ" | "OCRQ" | null;
  readonly pseudowireType: number;
  /** null: by chance. */
  readonly rxCookie: string | null;
  /** Of the pod's interface. */
  readonly circuit: CircuitStatus;
}

export interface TunnelControlState {
  readonly mode: PeeringMode;
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
