/** How a control connection and its sessions are configured: plain data. */

export interface Endpoint {
  readonly address: string;
  /** The UDP port; 0 over IP. */
  readonly port: number;
}

/** How a tunnel's control connection is held (RFC 3931). A tunnel without one is static. */
export type TunnelControl = ManagedControl | QuiescentControl;

/** The ends set up the control connection, and its sessions. */
export interface ManagedControl extends ControlSettings {
  readonly mode: "Managed";
  /** Remotes that take over when the tunnel's own is gone, in the order of preference. */
  readonly backups: readonly Endpoint[];
}

/** Both ends are configured, and only ask whether the other lives. */
export interface QuiescentControl extends ControlSettings {
  readonly mode: "Quiescent";
  readonly backups: readonly [];
}

interface ControlSettings {
  /** Whether we send the SCCRQ. */
  readonly initiates: boolean;
  readonly hostName: string;
  readonly routerId: number;
  /** In hexadecimal digits; none: without authentication. A second is for a change of the secret. */
  readonly secrets: readonly string[];
  readonly digest: "md5" | "sha1";
  readonly hidesValues: boolean;
  readonly helloMs: number;
  /** null: when retransmission has ended. */
  readonly deadAfterMs: number | null;
  readonly retransmitMs: number;
  readonly retransmitCapMs: number;
  readonly maxRetransmits: number;
}

/** How a session of a managed tunnel is signalled. */
export interface SessionControl {
  readonly remoteEndId: string;
  /** The request with which we place the call; null: we wait for the peer's. The datapath's socket has this name. */
  readonly places: "ICRQ" | "OCRQ" | null;
  /** A number of the registry of RFC 4446. */
  readonly pseudowireType: number;
  /** Hexadecimal digits; null: by chance. */
  readonly rxCookie: string | null;
  /** Of the pod's interface. */
  readonly circuit: { readonly active: boolean; readonly standby: boolean };
}
