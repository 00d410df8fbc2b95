/** Builds the objects' status from the agent's findings. */

import type { SessionControlState, TunnelControlState } from "../../datapath/control-state.ts";
import type { SessionState } from "../../datapath/datapath.ts";
import type { FailureCode } from "../../datapath/failure.ts";
import { traitsOf } from "../../datapath/registry/datapaths.ts";
import { isCarrying } from "../../l2tp/control/circuit-status.ts";
import { StopResult } from "../../l2tp/control/result-code.ts";
import type { SessionControl, TunnelControl } from "../../l2tp/control/settings.ts";
import { type Attachment, holderName } from "../../model/attachments/index.ts";
import type { FieldProblem } from "../../model/problem.ts";
import { describeProblem } from "../../model/problem.ts";
import { writeRemoteEndId } from "../../model/remote-end-id.ts";
import type { Condition, SessionStatus, TunnelStatus } from "../api/types.ts";
import { interfaceName } from "./desired.ts";
import { interfaceCondition } from "./node-interfaces.ts";
import { peerNeeds } from "./peer-needs.ts";
import type { Refusal } from "./refusal.ts";
import type { ResolvedSession, ResolvedTunnel, Switched } from "./resolved.ts";

/** A failed action of an object. */
export interface Failure {
  readonly code: FailureCode;
  readonly message: string;
}

/** An attachment, and its interface now. */
export interface Placed {
  readonly attachment: Attachment;
  /** False if the pod's network namespace no longer exists. */
  readonly alive: boolean;
  /** The interface's name, which the pod can change; null: the interface is missing. */
  readonly name: string | null;
}

/** Failures by "tunnel NAME" or "session KEY". */
export type Failures = ReadonlyMap<string, Failure>;

/** A condition without time and generation. */
export type UndatedCondition = Omit<Condition, "lastTransitionTime" | "observedGeneration">;

const ACCEPTED: UndatedCondition = {
  type: "Accepted",
  status: "True",
  reason: "Valid",
  message: "The object is valid.",
};

const STILL_RUNS = "The previous version stays programmed.";
const sentence = (text: string): string => (text.endsWith(".") ? text : `${text}.`);

/** Returns the conditions of a refused object. @param stillRuns true if an earlier version is programmed */
export function refusedConditions(refusal: Refusal, stillRuns: boolean): UndatedCondition[] {
  const programmed: UndatedCondition = {
    type: "Programmed",
    status: "False",
    reason: refusal.reason,
    message: stillRuns ? `${sentence(refusal.message)} ${STILL_RUNS}` : refusal.message,
  };
  if (refusal.condition === "Programmed") return [ACCEPTED, programmed];
  const { reason, message } = refusal;
  const accepted: UndatedCondition = { type: "Accepted", status: "False", reason, message };
  return [accepted, { ...programmed, reason: stillRuns ? "Stale" : "NotAccepted" }];
}

/** Returns the refusal of an object with an invalid form. */
export function invalidForm(problems: readonly FieldProblem[]): Refusal {
  const message = problems.map(describeProblem).join("; ");
  return { condition: "Accepted", reason: "Invalid", message };
}

const FAILURE_REASONS: Readonly<Partial<Record<FailureCode, string>>> = {
  EADDRNOTAVAIL: "AddressNotAvailable",
  EADDRINUSE: "AddressInUse",
  EEXIST: "NameInUse",
  EDATAPATH: "DatapathDown",
  ENETUNREACH: "NoRoute",
  EHOSTUNREACH: "NoRoute",
  NotOurs: "NotOurs",
  NoSocket: "DatapathDown",
};

const FAILURE_REMEDIES: Readonly<Partial<Record<FailureCode, string>>> = {
  EADDRNOTAVAIL: "the node does not have the local address; retrying",
  EADDRINUSE:
    "another program uses the local port, or over IP the control connection ID; stop it, or use another port or address",
  EEXIST: "another interface has this name; rename or delete it",
  ENETUNREACH: "no route to the remote; retrying",
  EHOSTUNREACH: "no route to the remote; retrying",
};

function failed(failure: Failure): UndatedCondition {
  const remedy = FAILURE_REMEDIES[failure.code] ?? "retrying";
  return {
    type: "Programmed",
    status: "False",
    reason: FAILURE_REASONS[failure.code] ?? "Failed",
    message: `${failure.message}: ${remedy}.`,
  };
}

function programmedIn(datapath: string, notInKernel: string | null): string {
  const why = notInKernel === null ? "" : `; kernel not used: ${notInKernel}`;
  return `Programmed in ${traitsOf(datapath).label}${why}.`;
}

/** Returns a tunnel's status without times. @param control the state of its control connection, if it has one */
export function tunnelStatus(
  resolved: ResolvedTunnel,
  failures: Failures,
  control?: TunnelControlState,
): Omit<TunnelStatus, "conditions"> & { conditions: UndatedCondition[] } {
  const { object, tunnel, underlayMtu } = resolved;
  const failure = failures.get(`tunnel ${tunnel.name}`);
  return {
    nodeName: object.spec.nodeName,
    localAddress: tunnel.local.address,
    ...(tunnel.control === undefined ? {} : { remoteAddress: (control ?? tunnel).remote.address }),
    datapath: traitsOf(tunnel.datapath).apiName as NonNullable<TunnelStatus["datapath"]>,
    tunnelId: tunnel.tunnelId,
    mtu: underlayMtu,
    conditions: [
      ACCEPTED,
      failure === undefined ? programmedTunnel(resolved) : failed(failure),
      ...(tunnel.control === undefined ? [] : [alive(tunnel.control, control)]),
      ...(tunnel.control?.backups.length ? [redundant(control)] : []),
    ],
  };
}

function programmedTunnel(resolved: ResolvedTunnel): UndatedCondition {
  const { tunnel, notInKernel, noRoute, isAddressLost } = resolved;
  const type = "Programmed";
  if (isAddressLost) {
    const where = tunnel.device === undefined ? "" : ` in ${tunnel.device.name}`;
    const message = `The node does not have the local address ${tunnel.local.address}${where} now. The tunnel stays programmed, and forwards frames again when the address returns.`;
    return { type, status: "False", reason: "AddressNotAvailable", message };
  }
  if (noRoute !== null) {
    const message = `The tunnel is programmed, but there is ${noRoute}.`;
    return { type, status: "True", reason: "NoRoute", message };
  }
  const message = [programmedIn(tunnel.datapath, notInKernel), ...peerNeeds(tunnel)].join(" ");
  return { type, status: "True", reason: "Programmed", message };
}

/**
 * Returns a session's status without times.
 * @param attachments of the session, dead ones included
 * @param live the programmed state
 * @param deviceMtu the MTU of its device, in bytes
 */
export function sessionStatus(
  resolved: ResolvedSession,
  failures: Failures,
  attachments: readonly Placed[],
  live?: Pick<SessionState, "control" | "forwarding">,
  deviceMtu?: number,
): Omit<SessionStatus, "conditions"> & { conditions: UndatedCondition[] } {
  const { session, tunnel } = resolved;
  const failure =
    failures.get(`tunnel ${session.tunnel}`) ?? failures.get(`session ${session.key}`);
  const programmed: UndatedCondition = {
    type: "Programmed",
    status: "True",
    reason: "Programmed",
    message: programmedIn(tunnel.datapath, null),
  };
  const living = attachments.filter(({ alive }) => alive);
  const [first] = living;
  const onNode = holderName(resolved.nodeInterface);
  const device = first === undefined ? onNode : interfaceName(resolved, first, live);
  return {
    sessionId: session.sessionId,
    ...(session.control === undefined ? {} : writeRemoteEndId(session.control.remoteEndId)),
    ...(device === null ? {} : { interface: device }),
    mtu: deviceMtu ?? session.mtu,
    attachedTo: living.map(({ attachment: { pod, ifname }, name }) => ({
      pod,
      interface: name ?? ifname,
    })),
    conditions: [
      ACCEPTED,
      failure === undefined ? programmed : failed(failure),
      resolved.switched === undefined
        ? (interfaceCondition(living, resolved) ?? attached(living, attachments.length))
        : switched(resolved.switched),
      ...(session.control === undefined ? [] : [established(session.control, live?.control)]),
    ],
  };
}

function switched({ to, whyNot }: Switched): UndatedCondition {
  const type = "Switched";
  if (whyNot !== null) return { type, status: "False", ...whyNot };
  const message = `This session and L2tpSession ${to} forward frames to each other.`;
  return { type, status: "True", reason: "Switched", message };
}

/** Messages have no ages, which would change the status each second; l2tpctl shows ages. */
function alive(
  configured: TunnelControl,
  control: TunnelControlState | undefined,
): UndatedCondition {
  const type = "Alive";
  if (control?.state === "established") {
    const message = `The control connection to ${control.peerHostName ?? "the peer"} is established.`;
    return { type, status: "True", reason: "Established", message };
  }
  if (!control?.lastEnding) {
    const message = configured.initiates
      ? "No response from the peer; retrying."
      : "Waiting for the peer to open the control connection (spec.control.initiate: false).";
    return { type, status: "False", reason: "Connecting", message };
  }
  const { by, why, result } = control.lastEnding;
  const closed = by === "peer" ? "Refused" : by === "us" ? "Closed" : "PeerLost";
  const reason = result === StopResult.NotAuthorized ? "NotAuthorized" : closed;
  const message = `The control connection is down: ${why}; retrying.`;
  return { type, status: "False", reason, message };
}

/** True if the remote is active, and every backup can take over. */
function redundant(control: TunnelControlState | undefined): UndatedCondition {
  const type = "Redundant";
  const { active = 0, paths = [] } = control ?? {};
  const lost = paths.filter(({ state }) => state !== "established");
  const carrier = paths[active]?.state === "established" ? paths[active].remote.address : null;
  if (lost.length === 0 && carrier !== null && active === 0) {
    const message = "The remote is active, and every backup is established.";
    return { type, status: "True", reason: "AllThere", message };
  }
  const missing = lost.map(({ remote, lastEnding }) => {
    const why = lastEnding === null ? "no response yet" : lastEnding.why;
    return `${remote.address} is down: ${why}`;
  });
  const waits = paths.slice(0, active).filter(({ state }) => state === "established");
  const behind = waits.map(
    ({ remote }) =>
      `failback to ${remote.address} follows once it is stable and has as many active circuits`,
  );
  const who = carrier === null ? "no remote is active" : `${carrier} is active`;
  const message = `${[...missing, ...behind, who].join("; ")}.`;
  if (carrier !== null) {
    return { type, status: "False", reason: active === 0 ? "BackupLost" : "OnBackup", message };
  }
  // A remote that was never established is not lost.
  const isNew = lost.every(({ lastEnding }) => lastEnding === null);
  return { type, status: "False", reason: isNew ? "Connecting" : "AllLost", message };
}

function established(
  configured: SessionControl,
  control: SessionControlState | undefined,
): UndatedCondition {
  const type = "Established";
  if (control?.established) {
    const { peerCircuit } = control.established;
    const { standby } = peerCircuit;
    if (isCarrying(peerCircuit)) {
      return { type, status: "True", reason: "Active", message: "The peer's circuit is active." };
    }
    const message = standby
      ? "The session is established, and the peer's circuit is on standby."
      : "The session is established, but the peer's circuit is not active: nothing is attached at the peer, or its link is down.";
    return { type, status: "False", reason: standby ? "Standby" : "NotActive", message };
  }
  const why = control?.lastEnding?.why;
  if (why !== undefined) {
    return { type, status: "False", reason: "Down", message: `The session is down: ${why}.` };
  }
  const message =
    configured.places === null
      ? "Waiting for the peer to request the session (spec.control.role: LNS)."
      : "Negotiating the session.";
  return { type, status: "False", reason: "Connecting", message };
}

function attached(living: readonly Placed[], total: number): UndatedCondition {
  const missing = living.filter(({ name }) => name === null);
  if (missing.length > 0) {
    const pods = missing.map(({ attachment: { pod, ifname } }) => `${pod} (${ifname})`);
    const message = `The interface is missing in ${pods.join(", ")}; the agent recreates it.`;
    return { type: "Attached", status: "False", reason: "InterfaceMissing", message };
  }
  if (living.length > 0) {
    const pods = living.map(({ attachment: { pod }, name }) => `${pod} (${name})`);
    const shown =
      pods.length > 5
        ? `${pods.slice(0, 5).join(", ")} and ${pods.length - 5} more`
        : pods.join(", ");
    return {
      type: "Attached",
      status: "True",
      reason: "Attached",
      message: `Attached to ${shown}.`,
    };
  }
  if (total > 0) {
    const message =
      "The pod's network namespace was removed without CNI DEL; another pod can attach.";
    return { type: "Attached", status: "False", reason: "NamespaceGone", message };
  }
  return { type: "Attached", status: "False", reason: "NoPod", message: "No pod has attached." };
}
