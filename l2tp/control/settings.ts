/** Configuration of a control connection and its sessions, as plain data. */

export interface Endpoint {
  readonly address: string;
  /** The UDP port; 0 over IP. */
  readonly port: number;
}

/** Settings of a tunnel's control connection (RFC 3931). A tunnel without one is static. */
export type TunnelControl = ManagedControl | QuiescentControl;

/** The ends negotiate the control connection and its sessions. */
export interface ManagedControl extends ControlSettings {
  readonly mode: "Managed";
  /** Backups, in order of preference. */
  readonly backups: readonly Endpoint[];
}

/** Both ends are configured, and only exchange HELLO messages. */
export interface QuiescentControl extends ControlSettings {
  readonly mode: "Quiescent";
  readonly backups: readonly [];
}

interface ControlSettings {
  /** True if we send the SCCRQ. */
  readonly initiates: boolean;
  readonly hostName: string;
  readonly routerId: number;
  /** Shared secrets in hexadecimal digits; empty: no authentication. A second one is for rotation. */
  readonly secrets: readonly string[];
  readonly digest: "md5" | "sha1";
  readonly hidesValues: boolean;
  readonly helloMs: number;
  /** Silence after which the peer is down, in milliseconds; null: when retransmission ends. */
  readonly deadAfterMs: number | null;
  readonly retransmitMs: number;
  readonly retransmitCapMs: number;
  readonly maxRetransmits: number;
}

/** Signaling settings of a session in a managed tunnel. */
export interface SessionControl {
  readonly remoteEndId: string;
  /**
   * The request that we send; null: we wait for the peer's. The field has this name in the datapath's socket protocol.
   */
  readonly places: "ICRQ" | "OCRQ" | null;
  /** A number of the registry of RFC 4446. */
  readonly pseudowireType: number;
  /** Hexadecimal digits; null: random. */
  readonly rxCookie: string | null;
  /** Status of the pod's interface. */
  readonly circuit: { readonly active: boolean; readonly standby: boolean };
}
