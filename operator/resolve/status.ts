/** What the objects' status says of what the agent found. */

import type { SessionControlState, TunnelControlState } from "../../datapath/control-state.ts";
import type { SessionState } from "../../datapath/datapath.ts";
import type { FailureCode } from "../../datapath/failure.ts";
import { traitsOf } from "../../datapath/registry/datapaths.ts";
import { isCarrying } from "../../l2tp/control/circuit-status.ts";
import { StopResult } from "../../l2tp/control/result-code.ts";
import type { Attachment } from "../../model/attachments/attachment.ts";
import type { FieldProblem } from "../../model/problem.ts";
import { describeProblem } from "../../model/problem.ts";
import { writeRemoteEndId } from "../../model/remote-end-id.ts";
import type { Condition, SessionStatus, TunnelStatus } from "../api/types.ts";
import { interfaceName } from "./desired.ts";
import { peerNeeds } from "./peer-needs.ts";
import type { Refusal } from "./refusal.ts";
import type { ResolvedSession, ResolvedTunnel, Switched } from "./resolved.ts";

/** What failed of an object. */
export interface Failure {
  readonly code: FailureCode;
  readonly message: string;
}

/** An attachment, and its interface as it is now. */
export interface Placed {
  readonly attachment: Attachment;
  /** False if its pod has gone. */
  readonly alive: boolean;
  /** The pod may have renamed it; null: it is missing. */
  readonly name: string | null;
}

/** By "tunnel NAME" or "session KEY". */
export type Failures = ReadonlyMap<string, Failure>;

/** A condition before it has a time. */
export type UndatedCondition = Omit<Condition, "lastTransitionTime" | "observedGeneration">;

const ACCEPTED: UndatedCondition = {
  type: "Accepted",
  status: "True",
  reason: "Valid",
  message: "The object is valid.",
};

const STILL_RUNS = "The version before still runs.";
const sentence = (text: string): string => (text.endsWith(".") ? text : `${text}.`);

/** A condition for what is refused; `stillRuns`: an earlier version of it is programmed. */
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

/** What is wrong with the form of an object, as a refusal. */
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
  EADDRNOTAVAIL: "the node does not have the local address (yet); it is tried again",
  EADDRINUSE:
    "another program has the local port, or over IP the control connection ID; stop it, or choose another port or address",
  EEXIST: "another interface has the name; rename or delete it",
  ENETUNREACH: "there is no route to the remote (yet); it is tried again",
  EHOSTUNREACH: "there is no route to the remote (yet); it is tried again",
};

function failed(failure: Failure): UndatedCondition {
  const remedy = FAILURE_REMEDIES[failure.code] ?? "it is tried again";
  return {
    type: "Programmed",
    status: "False",
    reason: FAILURE_REASONS[failure.code] ?? "Failed",
    message: `${failure.message}: ${remedy}.`,
  };
}

function served(what: string, datapath: string, notInKernel: string | null): string {
  const why = notInKernel === null ? "" : `, not the kernel: ${notInKernel}`;
  return `${traitsOf(datapath).label} serves the ${what}${why}.`;
}

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
      ...(tunnel.control === undefined ? [] : [alive(control)]),
      ...(tunnel.control?.backups.length ? [redundant(control)] : []),
    ],
  };
}

function programmedTunnel(resolved: ResolvedTunnel): UndatedCondition {
  const { tunnel, notInKernel, noRoute, isAddressLost } = resolved;
  const type = "Programmed";
  if (isAddressLost) {
    const where = tunnel.device === undefined ? "" : ` in ${tunnel.device.name}`;
    const message = `The node does not have the local address ${tunnel.local.address}${where} now. The tunnel stays, and carries frames again when the node has the address.`;
    return { type, status: "False", reason: "AddressNotAvailable", message };
  }
  if (noRoute !== null) {
    const message = `The tunnel is programmed, but there is ${noRoute}.`;
    return { type, status: "True", reason: "NoRoute", message };
  }
  const message = [served("tunnel", tunnel.datapath, notInKernel), ...peerNeeds(tunnel)].join(" ");
  return { type, status: "True", reason: "Programmed", message };
}

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
    message: served("session", tunnel.datapath, null),
  };
  const living = attachments.filter(({ alive }) => alive);
  const [first] = living;
  const device = first === undefined ? null : interfaceName(resolved, first, live);
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
        ? attached(living, attachments.length)
        : switched(resolved.switched),
      ...(session.control === undefined ? [] : [established(live?.control)]),
    ],
  };
}

function switched({ to, whyNot }: Switched): UndatedCondition {
  const type = "Switched";
  if (whyNot !== null) return { type, status: "False", ...whyNot };
  const message = `Frames go to L2tpSession ${to}, and that session's frames to this one.`;
  return { type, status: "True", reason: "Switched", message };
}

/** The ages are l2tpctl's: a status that changes each second is written each second. */
function alive(control: TunnelControlState | undefined): UndatedCondition {
  const type = "Alive";
  if (control?.state === "established") {
    const who = control.peerHostName === null ? "The peer" : `The peer ${control.peerHostName}`;
    return { type, status: "True", reason: "Established", message: `${who} is there.` };
  }
  if (!control?.lastEnding) {
    const message = "The peer has not answered yet; it is asked again and again.";
    return { type, status: "False", reason: "Connecting", message };
  }
  const { by, why, result } = control.lastEnding;
  const closed = by === "peer" ? "Refused" : by === "us" ? "Closed" : "PeerLost";
  const reason = result === StopResult.NotAuthorized ? "NotAuthorized" : closed;
  const message = `The control connection is down: ${why}; it is tried again.`;
  return { type, status: "False", reason, message };
}

/** Whether whoever is lost next is stood in for. */
function redundant(control: TunnelControlState | undefined): UndatedCondition {
  const type = "Redundant";
  const { active = 0, paths = [] } = control ?? {};
  const lost = paths.filter(({ state }) => state !== "established");
  const carrier = paths[active]?.state === "established" ? paths[active].remote.address : null;
  if (lost.length === 0 && carrier !== null && active === 0) {
    const message = "The remote carries, and all backups are there.";
    return { type, status: "True", reason: "AllThere", message };
  }
  const missing = lost.map(({ remote, lastEnding }) => {
    const why = lastEnding === null ? "it has not answered yet" : lastEnding.why;
    return `${remote.address} is not there: ${why}`;
  });
  const waits = paths.slice(0, active).filter(({ state }) => state === "established");
  const behind = waits.map(
    ({ remote }) =>
      `${remote.address} gets the frames back when it has been there for a while, and with as many circuits`,
  );
  const who = `${carrier ?? "nobody"} carries the frames`;
  const message = `${[...missing, ...behind, who].join("; ")}.`;
  if (carrier !== null) {
    return { type, status: "False", reason: active === 0 ? "BackupLost" : "OnBackup", message };
  }
  // What has yet to come up for the first time is not lost.
  const isNew = lost.every(({ lastEnding }) => lastEnding === null);
  return { type, status: "False", reason: isNew ? "Connecting" : "AllLost", message };
}

function established(control: SessionControlState | undefined): UndatedCondition {
  const type = "Established";
  if (control?.established) {
    const { peerCircuit } = control.established;
    const { standby } = peerCircuit;
    if (isCarrying(peerCircuit)) {
      return { type, status: "True", reason: "Active", message: "The peer's circuit is active." };
    }
    const message = standby
      ? "The session stands, and the peer's circuit is on standby."
      : "The session stands, but the peer's circuit is not active: nobody is attached there, or its link is down.";
    return { type, status: "False", reason: standby ? "Standby" : "NotActive", message };
  }
  const why = control?.lastEnding?.why;
  return why === undefined
    ? { type, status: "False", reason: "Connecting", message: "The ends have not agreed yet." }
    : { type, status: "False", reason: "Down", message: `The session is down: ${why}.` };
}

function attached(living: readonly Placed[], total: number): UndatedCondition {
  const missing = living.filter(({ name }) => name === null);
  if (missing.length > 0) {
    const pods = missing.map(({ attachment: { pod, ifname } }) => `${pod} (${ifname})`);
    const message = `The interface is missing in ${pods.join(", ")}; the agent makes it again.`;
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
    const message = "The pod's network namespace is gone without a DEL; the next one may attach.";
    return { type: "Attached", status: "False", reason: "NamespaceGone", message };
  }
  return { type: "Attached", status: "False", reason: "NoPod", message: "No pod has attached." };
}
