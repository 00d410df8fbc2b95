/**
 * The agent's socket protocol: newline-delimited JSON, one reply a request (rpc/); a trace has many. The CNI plugin and
 * l2tpctl speak it, and know of the rest of the operator nothing but this file.
 */
import { MAC_FORM } from "../net/mac.ts";
import type { TraceRequest } from "./trace-protocol.ts";

export const DEFAULT_SOCKET = "/run/l2tp-cni/agent.sock";
/** Of the CNI specification, the newest last. Calico, Flannel and Cilium still write lists of 0.3.1. */
export const CNI_VERSIONS = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;
/** The annotation by which a pod asks a chained plugin for sessions. */
export const ANNOTATION = "l2tp.dev/sessions";
/**
 * Beside the socket: the folder of deferred requests, one a file, that the agent has yet to carry
 * out.
 */
export const DEFERRED_REQUESTS = "deferred";
export const MAX_REQUEST_BYTES = 1024 * 1024;
export const MAX_REPLY_BYTES = 64 * 1024 * 1024;

/** What names must look like, at both ends of the socket. */
export const FORMS = {
  /** CNI specification, section 2; a bound so that it fits a file. */
  containerId: /^[A-Za-z0-9][A-Za-z0-9_.-]{0,149}$/,
  /** Of what the kernel takes for a name (dev_valid_name), what is safe to print and no template. */
  ifname: /^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/,
  netns: /^\/[^\0]{0,4094}$/,
  network: /^[A-Za-z0-9][A-Za-z0-9_.-]{0,252}$/,
  mac: MAC_FORM,
  /** Of a namespace or a session: a label (RFC 1123). */
  label: /^[a-z0-9][-a-z0-9]{0,62}$/,
  /** "namespace/name". */
  session: /^[a-z0-9][-a-z0-9]{0,62}\/[a-z0-9][-a-z0-9]{0,62}$/,
  /** A tunnel: a subdomain (RFC 1123). */
  tunnel: /^[a-z0-9][-a-z0-9.]{0,252}$/,
  /** "namespace/name". */
  pod: /^[a-z0-9][-a-z0-9]{0,62}\/[a-z0-9][-a-z0-9.]{0,252}$/,
} as const;

/** What CNI knows an ADD by ever after; one chained ADD may make several interfaces. */
export interface CniCall {
  readonly containerId: string;
  /** CNI_IFNAME. */
  readonly cniIfname: string;
}

export interface DetachCall extends CniCall {
  /** The path of the pod's network namespace; null where the runtime names none any more. */
  readonly netns: string | null;
}

/** A route by a pod's interface; what is left out is the kernel's default. CNI 1.1 has these fields. */
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
  /** IPAM's answer; a repeated ADD gives it again. */
  readonly ipam: unknown;
}

export interface SessionRequest extends CniCall {
  /** The interface to make: CNI_IFNAME, or another one where the plugin is chained. */
  readonly ifname: string;
  readonly netns: string;
  /** "namespace/name". */
  readonly session: string;
  /** "namespace/name" of the pod, or null where the runtime names none. */
  readonly pod: string | null;
}

export interface AttachRequest extends SessionRequest, Addressing {
  readonly op: "attach";
  /** The name of the CNI network configuration. */
  readonly network: string;
  /** Null: one that stays the same for the session. */
  readonly mac: string | null;
  /** The interface is made, named and up; its addresses follow by `configure`. Absent: false. */
  readonly awaitsIpam?: boolean;
  /** The type of the IPAM plugin that gives them. */
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
  /** Succeeds for what is gone already. */
  | ({ readonly op: "detach" } & DetachCall)
  /** Returns the interfaces that the ADD made, by the names that they were made under. */
  | ({
      readonly op: "check";
      /** Addresses and routes' destinations of the runtime's prevResult. */
      readonly addresses: readonly string[];
      readonly destinations: readonly string[];
    } & CniCall)
  /** Detaches all of the network but the valid ones. */
  | {
      readonly op: "gc";
      readonly network: string;
      readonly valid: readonly CniCall[];
      /** RFC 3339, in UTC; what was attached later stays. */
      readonly before: string;
    }
  /** What a pod asks for, where the runtime does not say. */
  | { readonly op: "annotation"; readonly pod: string; readonly uid: string | null }
  /** Ready for ADD? */
  | { readonly op: "ready" }
  | { readonly op: "tunnels" }
  | { readonly op: "sessions" }
  | { readonly op: "attachments" }
  /** All that the node's data planes hold, ours or not. */
  | { readonly op: "dump" }
  | { readonly op: "doctor"; readonly seconds: number }
  /** Items of trace-protocol.ts, until the client goes or what is traced. */
  | TraceRequest;

/**
 * A request that the plugin writes to a file when the node cannot be asked; the agent carries it
 * out later.
 */
export type DeferredRequest = Extract<AgentRequest, { op: "detach" } | { op: "gc" }>;

export interface AttachedInterface {
  readonly name: string;
  /** Absent: it has none. */
  readonly mac?: string;
  /** The path of the pod's namespace; absent for an interface of the node. */
  readonly sandbox?: string;
}

export interface Attached extends Addressing {
  /** The pod's interface last. */
  readonly interfaces: readonly AttachedInterface[];
  readonly mtu: number;
  /** False: IPAM is still to be asked. */
  readonly isComplete: boolean;
}

/** Codes of errors that the CNI plugin tells apart. */
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
  /** The configuration asks for what the session's interface cannot have. */
  | "UnsupportedField"
  /** The pod is to have IPv6, and the session's MTU is less than that needs. */
  | "MtuTooSmall"
  | "ClientGone"
  | "Drift"
  | "StateNotWritable"
  | "ApplyFailed"
  /** The datapath process does not answer. */
  | "DatapathAway"
  /** A system call failed: the kernel lacks memory, or something is busy. */
  | "SystemCallFailed";

export interface ConditionRow {
  readonly type: string;
  readonly status: string;
  readonly reason: string;
  readonly message: string;
}

/** The condition that says what is wrong; undefined: nothing. That no pod has attached is no fault. */
export function faultOf(conditions: readonly ConditionRow[]): ConditionRow | undefined {
  return conditions.find(({ type, status }) => type !== "Attached" && status !== "True");
}

export interface TunnelRow {
  readonly name: string;
  readonly encapsulation: string;
  readonly local: string;
  readonly remote: string;
  /** As control messages have it; null: the ends have not told each other yet. */
  readonly tunnelId: number | null;
  readonly peerTunnelId: number | null;
  readonly datapath: string;
  readonly underlayMtu: number | null;
  readonly sessions: number;
  /** null: it has no control connection. */
  readonly control: TunnelControlRow | null;
  readonly conditions: readonly ConditionRow[];
  /** Frames of its sessions together. */
  readonly traffic: {
    readonly txPackets: number;
    readonly txBytes: number;
    readonly rxPackets: number;
    readonly rxBytes: number;
  };
  /** Those of its local endpoint, which it may share with other tunnels. */
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
  /** Milliseconds since the peer was last heard; null: never on this connection. */
  readonly heardMsAgo: number | null;
  /** Why there is no control connection any more, or not yet. */
  readonly lastEnding: EndingRow | null;
}

/** The control connection to the remote that carries the frames. */
export interface TunnelControlRow extends RemoteRow {
  readonly mode: string;
  /** Its index in `paths`. */
  readonly active: number;
  /** All of the tunnel's remotes, in the order of preference. */
  readonly paths: readonly RemoteRow[];
  readonly localConnectionId: number;
  readonly peerConnectionId: number;
  readonly peerRouterId: number | null;
  readonly peerVendorName: string | null;
  /** Messages that may be unacknowledged: ours, and the peer's. */
  readonly window: number;
  readonly peerWindow: number;
  readonly unacknowledged: number;
  readonly sent: number;
  readonly received: number;
  readonly retransmitted: number;
  readonly unauthenticated: number;
  readonly dropped: number;
}

/** Why a connection or a session is over. */
export interface EndingRow {
  readonly by: "us" | "peer" | "connection";
  readonly why: string;
  /** The result code of a StopCCN or CDN (RFC 3931 section 5.4.2); null: there was none. */
  readonly result: number | null;
}

/** The ends of a session have told each other this, without their cookies. */
export interface SessionControlRow {
  /** RFC 3931 section 7.3, such as "established". */
  readonly phase: string;
  /** null: the ends have not agreed. */
  readonly established: AgreementRow | null;
  readonly lastEnding: EndingRow | null;
}

export interface AgreementRow {
  readonly sessionId: number;
  readonly peerSessionId: number;
  readonly l2SpecificSublayer: string;
  readonly sequencing: { readonly send: boolean; readonly receive: boolean };
  readonly peerCircuit: { readonly active: boolean; readonly standby: boolean };
  /** Bytes; null: the peer has not said. */
  readonly peerMtu: number | null;
}

export interface SessionRow {
  /** "namespace/name". */
  readonly name: string;
  readonly tunnel: string;
  /** As its frames have it; null: the ends have not agreed on one yet. */
  readonly sessionId: number | null;
  readonly peerSessionId: number | null;
  /** The session's own device, by the name that it has now; null: there is none. */
  readonly interface: string | null;
  readonly mtu: number | null;
  /** The type with its settings, such as "EthernetVLAN 100"; empty if it is not known. */
  readonly pseudowireType: string;
  readonly mode: string;
  readonly attachedTo: readonly string[];
  /** The session that its frames go to. Absent or null: none. */
  readonly switchedTo?: string | null;
  readonly lastReceivedMsAgo: number | null;
  /** Whether its frames pass by BPF programs. */
  readonly fastPath: boolean;
  /** null: it is not signalled. */
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

/** A tunnel, or a session behind its tunnel, as a data plane has it. */
export interface DumpRow {
  readonly datapath: string;
  readonly tunnelId: number;
  /** As its frames have it. Null: it is the tunnel itself; 0: the ends have not agreed on one yet. */
  readonly sessionId: number | null;
  /** The peer's ID of the tunnel or session; 0: the ends have not agreed on one yet. */
  readonly peerId: number;
  /** "L2TPv3 UDP", "Ethernet", "PPP". */
  readonly type: string;
  /** A tunnel's ends, "192.0.2.1:5000 192.0.2.2:5000"; empty for a session. */
  readonly endpoints: string;
  /** A session's device, by the name that it has now; empty: it has none that the agent can see. */
  readonly interface: string;
  /** "L2tpSession shop/lan"; null: somebody else made it. */
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
  /** What was looked at. */
  readonly tunnels: number;
  readonly sessions: number;
  /** Frames that crossed while it was looked at. */
  readonly rxPackets: number;
  readonly txPackets: number;
  readonly seconds: number;
  /** Datagrams that were captured meanwhile. */
  readonly captured: {
    /** So many tunnels were captured; of many, those that look worst. */
    readonly tunnels: number;
    readonly datagrams: number;
    /** Why datagrams of a tunnel could not be captured; null: they were. */
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

/** An interface's address as a CNI result has it: without its peer. */
export function resultAddress(address: string): string {
  return address.replace(/^(\S+) peer \S+\/(\d+)$/, "$1/$2");
}
