/**
 * The agent's socket protocol: newline-delimited JSON, one reply a request (rpc/); a trace has many. This is the only
 * file of the operator that the CNI plugin and l2tpctl use.
 */
import { MAC_FORM } from "../net/mac.ts";
import type { TraceRequest } from "./trace-protocol.ts";

export const DEFAULT_SOCKET = "/run/l2tp-cni/agent.sock";
/** Versions of the CNI specification, the newest last. Calico, Flannel and Cilium still write 0.3.1. */
export const CNI_VERSIONS = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;
/** The annotation by which a pod asks a chained plugin for sessions. */
export const ANNOTATION = "l2tp.dev/sessions";
/** The folder of deferred requests beside the socket, one a file. */
export const DEFERRED_REQUESTS = "deferred";
export const MAX_REQUEST_BYTES = 1024 * 1024;
export const MAX_REPLY_BYTES = 64 * 1024 * 1024;

/** Patterns of names, at both ends of the socket. */
export const FORMS = {
  /** CNI specification, section 2; bounded so that it fits a file name. */
  containerId: /^[A-Za-z0-9][A-Za-z0-9_.-]{0,149}$/,
  /** The kernel's names (dev_valid_name) that are safe to print and not a template. */
  ifname: /^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/,
  netns: /^\/[^\0]{0,4094}$/,
  network: /^[A-Za-z0-9][A-Za-z0-9_.-]{0,252}$/,
  mac: MAC_FORM,
  /** The name of a namespace or session: a label (RFC 1123). */
  label: /^[a-z0-9][-a-z0-9]{0,62}$/,
  /** "namespace/name". */
  session: /^[a-z0-9][-a-z0-9]{0,62}\/[a-z0-9][-a-z0-9]{0,62}$/,
  /** The name of a tunnel: a subdomain (RFC 1123). */
  tunnel: /^[a-z0-9][-a-z0-9.]{0,252}$/,
  /** "namespace/name". */
  pod: /^[a-z0-9][-a-z0-9]{0,62}\/[a-z0-9][-a-z0-9.]{0,252}$/,
} as const;

/** Identifies an ADD for later commands; a chained ADD can create several interfaces. */
export interface CniCall {
  readonly containerId: string;
  /** CNI_IFNAME. */
  readonly cniIfname: string;
}

export interface DetachCall extends CniCall {
  /** The path of the pod's network namespace; null if the runtime passes none. */
  readonly netns: string | null;
}

/** A route through a pod's interface, with the fields of CNI 1.1; omitted ones have the kernel's default. */
export interface Route {
  readonly destination: string;
  readonly gateway: string | null;
  readonly priority?: number;
  readonly table?: number;
  readonly scope?: number;
  /** Bytes. */
  readonly mtu?: number;
  /** Bytes. */
  readonly advmss?: number;
}

/** Addresses and routes, from IPAM or from the pod's annotation. */
export interface Addressing {
  /** "192.0.2.1/24", or "10.5.1.2 peer 10.5.1.1". */
  readonly addresses: readonly string[];
  readonly routes: readonly Route[];
  /** The result of IPAM, which a repeated ADD returns again. */
  readonly ipam: unknown;
}

export interface SessionRequest extends CniCall {
  /** The interface to create: CNI_IFNAME, or another name if the plugin is chained. */
  readonly ifname: string;
  readonly netns: string;
  /** "namespace/name". */
  readonly session: string;
  /** "namespace/name" of the pod; null if the runtime passes no pod name. */
  readonly pod: string | null;
}

export interface AttachRequest extends SessionRequest, Addressing {
  readonly op: "attach";
  /** The name of the CNI network configuration. */
  readonly network: string;
  /** Null: the session's stable address. */
  readonly mac: string | null;
  /** True: the agent creates the interface and brings it up; `configure` adds the addresses. Absent: false. */
  readonly awaitsIpam?: boolean;
  /** The type of the IPAM plugin that allocates the addresses. */
  readonly ipamType?: string | null;
}

/** The second half of an ADD with IPAM. */
export interface ConfigureRequest extends CniCall, Addressing {
  readonly op: "configure";
  readonly ifname: string;
}

export type AgentRequest =
  | AttachRequest
  | ConfigureRequest
  /** Succeeds if nothing is attached. */
  | ({ readonly op: "detach" } & DetachCall)
  /** Returns the names under which the ADD created its interfaces. */
  | ({
      readonly op: "check";
      /** Addresses and route destinations in the runtime's prevResult. */
      readonly addresses: readonly string[];
      readonly destinations: readonly string[];
    } & CniCall)
  /** Detaches all interfaces of the network except the valid ones. */
  | {
      readonly op: "gc";
      readonly network: string;
      readonly valid: readonly CniCall[];
      /** RFC 3339, in UTC; later attachments stay. */
      readonly before: string;
    }
  /** Returns the pod's annotation, for runtimes that do not pass it. */
  | { readonly op: "annotation"; readonly pod: string; readonly uid: string | null }
  /** Fails unless the agent is ready for ADD. */
  | { readonly op: "ready" }
  | { readonly op: "tunnels" }
  | { readonly op: "sessions" }
  | { readonly op: "attachments" }
  /** All tunnels and sessions in the node's datapaths, including foreign ones. */
  | { readonly op: "dump" }
  | { readonly op: "doctor"; readonly seconds: number }
  /** Streams items of trace-protocol.ts until the client disconnects or the traced object is removed. */
  | TraceRequest;

/** A request that the plugin writes to a file if the agent does not answer. The agent carries it out later. */
export type DeferredRequest = Extract<AgentRequest, { op: "detach" } | { op: "gc" }>;

export interface AttachedInterface {
  readonly name: string;
  /** Absent: the interface has no MAC address. */
  readonly mac?: string;
  /** The path of the pod's namespace; absent for an interface of the node. */
  readonly sandbox?: string;
}

export interface Attached extends Addressing {
  /** The pod's interface last. */
  readonly interfaces: readonly AttachedInterface[];
  readonly mtu: number;
  /** False: IPAM must still allocate addresses. */
  readonly isComplete: boolean;
}

/** Error codes that the CNI plugin distinguishes. */
export type AgentErrorCode =
  | "NotReady"
  | "UnknownSession"
  | "SessionNotReady"
  | "SessionBusy"
  | "NamespaceMismatch"
  | "InterfaceExists"
  | "NoNetns"
  | "UnknownPod"
  | "InvalidRequest"
  /** The session's interface does not support a field of the configuration. */
  | "UnsupportedField"
  /** The pod requests IPv6, and the session's MTU is below IPv6's minimum. */
  | "MtuTooSmall"
  | "ClientGone"
  | "Drift"
  | "StateNotWritable"
  | "ApplyFailed"
  /** The datapath process does not answer. */
  | "DatapathAway"
  /** A system call failed, such as for lack of memory. */
  | "SystemCallFailed";

export interface ConditionRow {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
}

/** Reasons of Attached False that are not faults: pods come and go. */
const REASONS_OF_PODS: ReadonlySet<string> = new Set([
  "NoPod",
  "NamespaceGone",
  "InterfaceMissing",
]);

/** Returns the first condition that is a fault; undefined: none. A session without a pod is not a fault. */
export function faultOf(conditions: readonly ConditionRow[]): ConditionRow | undefined {
  return conditions.find(
    ({ type, status, reason }) =>
      status !== "True" && (type !== "Attached" || !REASONS_OF_PODS.has(reason)),
  );
}

export interface TunnelRow {
  readonly name: string;
  readonly encapsulation: string;
  readonly local: string;
  readonly remote: string;
  /** The ID in control messages; null: not negotiated yet. */
  readonly tunnelId: number | null;
  readonly peerTunnelId: number | null;
  readonly datapath: string;
  readonly underlayMtu: number | null;
  readonly sessions: number;
  /** null: the tunnel has no control connection. */
  readonly control: TunnelControlRow | null;
  readonly conditions: readonly ConditionRow[];
  /** The sum over its sessions. */
  readonly traffic: {
    readonly txPackets: number;
    readonly txBytes: number;
    readonly rxPackets: number;
    readonly rxBytes: number;
  };
  /** Counters of its local endpoint, which tunnels can share. */
  readonly counters: Readonly<Record<string, number>>;
}

export interface EndpointRow {
  readonly address: string;
  /** The UDP port; 0 over IP. */
  readonly port: number;
}

/** One of a tunnel's remotes. */
export interface RemoteRow {
  readonly remote: EndpointRow;
  /** RFC 3931 section 7.2, such as "established". */
  readonly state: string;
  readonly peerHostName: string | null;
  /** Milliseconds since the last message from the peer; null: none on this connection. */
  readonly heardMsAgo: number | null;
  /** The reason why the last control connection ended or failed. */
  readonly lastEnding: EndingRow | null;
}

/** The control connection to the active remote. */
export interface TunnelControlRow extends RemoteRow {
  readonly mode: string;
  /** Index of the active remote in `paths`. */
  readonly active: number;
  /** The tunnel's remote and backups, in order of preference. */
  readonly paths: readonly RemoteRow[];
  readonly localConnectionId: number;
  readonly peerConnectionId: number;
  readonly peerRouterId: number | null;
  readonly peerVendorName: string | null;
  /** True if the peer propagates congestion marks. Absent: the datapath process is of an earlier version. */
  readonly peerPropagatesEcn?: boolean;
  /** Maximum number of unacknowledged messages of the node. */
  readonly window: number;
  /** Maximum number of unacknowledged messages of the peer. */
  readonly peerWindow: number;
  readonly unacknowledged: number;
  readonly sent: number;
  readonly received: number;
  readonly retransmitted: number;
  readonly unauthenticated: number;
  readonly dropped: number;
}

/** The reason why a control connection or session ended. */
export interface EndingRow {
  readonly by: "us" | "peer" | "connection";
  readonly why: string;
  /** The result code of a StopCCN or CDN (RFC 3931 section 5.4.2); null: none was sent. */
  readonly result: number | null;
}

/** The negotiation state of a session, without cookies. */
export interface SessionControlRow {
  /** RFC 3931 section 7.3, such as "established". */
  readonly phase: string;
  /** null: the session is not established. */
  readonly established: AgreementRow | null;
  readonly lastEnding: EndingRow | null;
}

export interface AgreementRow {
  readonly sessionId: number;
  readonly peerSessionId: number;
  readonly l2SpecificSublayer: string;
  readonly sequencing: { readonly send: boolean; readonly receive: boolean };
  readonly peerCircuit: { readonly active: boolean; readonly standby: boolean };
  /** Bytes; null: the peer has not sent its MTU. */
  readonly peerMtu: number | null;
}

export interface SessionRow {
  /** "namespace/name". */
  readonly name: string;
  readonly tunnel: string;
  /** The session ID in frames; null: not negotiated yet. */
  readonly sessionId: number | null;
  readonly peerSessionId: number | null;
  /** The present name of the session's own device; null: it has none. */
  readonly interface: string | null;
  readonly mtu: number | null;
  /** The type with its settings, such as "EthernetVLAN 100"; empty: unknown. */
  readonly pseudowireType: string;
  readonly mode: string;
  readonly attachedTo: readonly string[];
  /** The session that it forwards frames to. Absent or null: none. */
  readonly switchedTo?: string | null;
  readonly lastReceivedMsAgo: number | null;
  /** True if BPF programs forward its frames. */
  readonly fastPath: boolean;
  /** null: its tunnel is not managed. */
  readonly control: SessionControlRow | null;
  readonly conditions: readonly ConditionRow[];
  readonly counters: Readonly<Record<string, number>>;
}

export interface AttachmentRow extends CniCall {
  readonly ifname: string;
  readonly pod: string;
  readonly session: string;
  readonly netns: string;
  readonly mac: string;
  readonly addresses: readonly string[];
  readonly state: "attached" | "leaving" | "namespace gone" | "session missing";
}

/** A tunnel or session in a datapath; sessions follow their tunnel. */
export interface DumpRow {
  readonly datapath: string;
  readonly tunnelId: number;
  /** The session ID in frames. Null: the row is a tunnel; 0: not negotiated yet. */
  readonly sessionId: number | null;
  /** The peer's ID of the tunnel or session; 0: not negotiated yet. */
  readonly peerId: number;
  /** "L2TPv3 UDP", "Ethernet", "PPP". */
  readonly type: string;
  /** A tunnel's ends, "192.0.2.1:5000 192.0.2.2:5000"; empty for a session. */
  readonly endpoints: string;
  /** The present name of a session's device; empty: it has none, or the agent cannot see it. */
  readonly interface: string;
  /** "L2tpSession shop/lan"; null: l2tp-cni did not create it. */
  readonly owner: string | null;
  /** Other settings, such as "cookies=8/8" and "seq=send,receive". Never a cookie itself. */
  readonly settings: readonly string[];
  readonly counters: Readonly<Record<string, number>>;
}

export interface Finding {
  readonly severity: "error" | "warning";
  /** "L2tpSession shop/lan". */
  readonly object: string;
  readonly finding: string;
  readonly remedy: string;
}

export interface Examination {
  readonly findings: readonly Finding[];
  /** Numbers of examined objects. */
  readonly tunnels: number;
  readonly sessions: number;
  /** Frames received and sent during the examination. */
  readonly rxPackets: number;
  readonly txPackets: number;
  readonly seconds: number;
  /** Datagrams captured during the examination. */
  readonly captured: {
    /** The number of captured tunnels; the most suspicious ones first, up to a limit. */
    readonly tunnels: number;
    readonly datagrams: number;
    /** The reason why capturing failed for a tunnel; null: it did not fail. */
    readonly problem: string | null;
  };
}

export interface AgentResults {
  readonly attach: Attached;
  readonly configure: Attached;
  readonly detach: null;
  readonly check: readonly string[];
  readonly gc: null;
  readonly annotation: string | null;
  readonly ready: null;
  readonly tunnels: readonly TunnelRow[];
  readonly sessions: readonly SessionRow[];
  readonly attachments: readonly AttachmentRow[];
  readonly dump: readonly DumpRow[];
  readonly doctor: Examination;
  readonly trace: null;
}

/** Returns an interface's address as in a CNI result: without its peer. */
export function resultAddress(address: string): string {
  return address.replace(/^(\S+) peer \S+\/(\d+)$/, "$1/$2");
}
