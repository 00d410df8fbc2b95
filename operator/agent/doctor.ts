/** Says in words why a pseudowire does not pass frames. Pure: from two looks at the counters. */
import type {
  Listing,
  SessionState,
  TunnelState,
  UnexpectedSource,
} from "../../datapath/datapath.ts";
import { traitsOf } from "../../datapath/registry/datapaths.ts";
import { isCarrying } from "../../l2tp/control/circuit-status.ts";
import { featuresOf } from "../../model/features.ts";
import type { SessionCounters, Tunnel } from "../../model/model.ts";
import { findPseudowire } from "../../model/pseudowires/index.ts";
import type { Finding } from "../agent-protocol.ts";
import { MTU_RULES, unsendable } from "./mtu-findings.ts";

/** What the network around a session looks like. */
export interface NodeKnowledge {
  /** errno's name where there is no route to the remote of the tunnel. */
  noRoute(tunnel: string): string | null;
  /** The largest MTU that the path of the tunnel carries for the session; null: unknown. */
  fittingMtu(session: string): number | null;
  /** The session's device: where it stands, whether it is up, and its MTU if known; null: not found. */
  device(
    session: string,
  ): { readonly place: string; readonly up: boolean; readonly mtu?: number } | null;
  isAttached(session: string): boolean;
}

/** Nothing received for so long is worth a word. */
const SILENCE_MS = 30_000;
/** Between two looks; a peer that has restarted makes us drop a few. */
const MANY_DROPPED = 100;

export function diagnose(before: Listing, after: Listing, around: NodeKnowledge): Finding[] {
  const findings: Finding[] = [];
  const tunnels = new Map(after.tunnels.map((item) => [item.tunnel.name, item]));
  const earlierTunnels = new Map(before.tunnels.map((item) => [item.tunnel.name, item]));
  for (const [name, tunnel] of tunnels) {
    findings.push(...diagnoseTunnel(tunnel, earlierTunnels.get(name), around));
  }
  const earlier = new Map(before.sessions.map((item) => [item.session.key, item]));
  for (const session of after.sessions) {
    const tunnel = tunnels.get(session.session.tunnel);
    const grown = difference(earlier.get(session.session.key)?.counters, session.counters);
    const of: Case = { state: session, tunnel, grown, around };
    for (const rule of SESSION_RULES) {
      const found = rule(of);
      if (found !== null) findings.push({ object: `L2tpSession ${session.session.key}`, ...found });
    }
  }
  return findings;
}

function difference(before: SessionCounters | undefined, after: SessionCounters): SessionCounters {
  const entries = Object.entries(after).map(([name, value]) => {
    const earlier = before?.[name as keyof SessionCounters] ?? 0;
    return [name, value - earlier];
  });
  return Object.fromEntries(entries) as SessionCounters;
}

function diagnoseTunnel(
  {
    tunnel,
    control: connection,
    lastSendError,
    lastUnknownSession,
    lastStranger,
    endpoint,
  }: TunnelState,
  before: TunnelState | undefined,
  around: NodeKnowledge,
): Finding[] {
  const found: Omit<Finding, "object">[] = [];
  const noRoute = around.noRoute(tunnel.name);
  if (noRoute !== null) {
    const remedy = "add a route, or bring the underlay's interface up";
    found.push(error(`no route to the remote ${tunnel.remote.address} (${noRoute})`, remedy));
  } else if (lastSendError !== null) {
    const { address } = (connection ?? tunnel).remote;
    const finding = `datagrams to ${address} do not go out: ${lastSendError}`;
    const other = error(finding, "look at the underlay: routes, neighbours, firewall");
    found.push(unsendable(lastSendError, address) ?? other);
  }
  const earlier = before?.endpoint;
  const unknown = endpoint.rxUnknownSession - (earlier?.rxUnknownSession ?? 0);
  if (unknown > 0 && lastUnknownSession === null && lastStranger !== null) {
    // Another thread's sender wanted a session of this one's.
    found.push(unexpectedSource(unknown, lastStranger));
  } else if (unknown > 0) {
    const last = lastUnknownSession === null ? "" : `, the last one for ${lastUnknownSession}`;
    const finding = `${unknown} messages came for session ids that nobody has here${last}`;
    const remedy = "compare the session id that the peer sends with spec.sessionId";
    found.push(warning(finding, remedy));
  }
  const control = endpoint.rxControl - (earlier?.rxControl ?? 0);
  if (control > 0) {
    const finding = `${control} control messages came: the peer wants a managed tunnel`;
    found.push(warning(finding, "configure a static (unmanaged) pseudowire at the peer"));
  }
  const dropped = (connection?.dropped ?? 0) - (before?.control?.dropped ?? 0);
  if (dropped > MANY_DROPPED) found.push(controlFlood(dropped, tunnel));
  return found.map((item) => ({ object: `L2tpTunnel ${tunnel.name}`, ...item }));
}

function controlFlood(count: number, { remote, control }: Tunnel) {
  const isSigned = control !== undefined && control.secrets.length > 0;
  const secret = isSigned ? "" : "; set spec.control.secretRef at both ends";
  return warning(
    `${count} control messages in the name of ${remote.address} were dropped: more came than a peer sends`,
    `find their sender, and filter its messages in the underlay${secret}`,
  );
}

/** What a rule may look at. */
interface Case {
  readonly state: SessionState;
  readonly tunnel: TunnelState | undefined;
  /** What the counters have grown by between the two looks. */
  readonly grown: SessionCounters;
  readonly around: NodeKnowledge;
}

type Rule = (of: Case) => Omit<Finding, "object"> | null;

const error = (finding: string, remedy: string) => ({
  severity: "error" as const,
  finding,
  remedy,
});
const warning = (finding: string, remedy: string) => ({
  severity: "warning" as const,
  finding,
  remedy,
});

const deviceRule: Rule = ({ state, around }) => {
  const { key } = state.session;
  if (!around.isAttached(key)) return null;
  // Without a carrier it is down with the peer's circuit, and replaced by the next agreement.
  const established = state.control?.established;
  const hasCarrier = state.control === undefined || traitsOf(state.datapath).hasCarrier;
  if (!hasCarrier && !(established && isCarrying(established.peerCircuit))) return null;
  const device = around.device(key);
  if (!state.deviceOpen || device === null) {
    return error(
      "its device is gone",
      "the agent makes it anew; see the conditions if it stays so",
    );
  }
  if (device.up) return null;
  const remedy = "the agent sets it up; see the conditions if it stays so";
  return error(`its device ${device.place} is down`, remedy);
};

const cookieRule: Rule = ({ grown: { rxCookieDiscards } }) =>
  rxCookieDiscards === 0
    ? null
    : error(
        `${rxCookieDiscards} frames came with a wrong cookie`,
        "the peer's transmit cookie must be our spec.cookies.receive",
      );

const sublayerRule: Rule = ({ state, grown }) => {
  if (grown.rxSublayerSuspect === 0) return null;
  const ours = state.session.l2SpecificSublayer;
  const theirs = ours === "None" ? "an L2-specific sublayer" : "no L2-specific sublayer";
  const finding = `the peer sends ${theirs}, which we do not expect`;
  return error(finding, `set the same at both ends; ours is ${ours}`);
};

const sourceRule: Rule = ({ tunnel, grown: { rxSourceMismatch } }) =>
  rxSourceMismatch === 0 ? null : unexpectedSource(rxSourceMismatch, tunnel?.lastStranger ?? null);

function unexpectedSource(count: number, last: UnexpectedSource | null) {
  const whom = last === null ? "" : ` from ${last.address} port ${last.port}`;
  const finding = `${count} frames came${whom}, which is not the remote`;
  return error(finding, "correct the tunnel's spec.remote, or the peer's source address and port");
}

const sequenceRule: Rule = ({ grown: { rxSeqDiscards, rxOosPackets } }) =>
  rxSeqDiscards + rxOosPackets === 0
    ? null
    : warning(
        `${rxOosPackets} sequence numbers were missed, ${rxSeqDiscards} frames came late or without one`,
        "the underlay loses or reorders (spec.sequencing.reorderTimeout helps the latter), or the peer does not send numbers",
      );

const spoofedRule: Rule = ({ grown: { txSpoofed } }) =>
  txSpoofed === 0
    ? null
    : warning(
        `${txSpoofed} frames of its pods were dropped: their source address was not that of the pod's interface`,
        "the pod bridges, or changed its MAC; set spec.attachment.macSpoofing: Allow if it may",
      );

const invalidRule: Rule = ({ grown: { rxInvalid, rxNotIp } }) => {
  if (rxInvalid === 0) return null;
  if (rxNotIp > 0) {
    return error(
      `${rxNotIp} messages held neither an IPv4 nor an IPv6 datagram`,
      "set pseudowire type IP at the peer too (Cisco: interworking ip), and compare cookie lengths and sublayer",
    );
  }
  return error(
    `${rxInvalid} messages were too short`,
    "compare cookie lengths, sublayer and pseudowire type with the peer's",
  );
};

const featureRule: Rule = ({ state, tunnel, around }) => {
  // Of a signalled one nothing is to be said before the ends agree.
  const isSetUp = state.control === undefined || state.control.established !== null;
  if (tunnel === undefined || !isSetUp || !around.isAttached(state.session.key)) return null;
  const lacking = featuresOf(tunnel.tunnel).find(({ name }) => state[name] !== true);
  if (lacking === undefined) return null;
  const type = findPseudowire(state.session);
  const never = type === undefined ? null : lacking.whyNotType(type);
  if (never === null) return warning(lacking.missing, lacking.remedy);
  return warning(`${lacking.missing}: ${never.why}`, never.remedy);
};

const silenceRule: Rule = ({ state, around }) => {
  const silence = state.lastReceivedMsAgo;
  if (!around.isAttached(state.session.key)) return null;
  if (silence !== null && silence <= SILENCE_MS) return null;
  const since = silence === null ? "ever" : `for ${Math.round(silence / 1000)} s`;
  const remedy = "is the peer up, does a firewall pass the tunnel, do the session ids match?";
  return warning(`nothing has been received ${since}`, remedy);
};

const SESSION_RULES: readonly Rule[] = [
  deviceRule,
  cookieRule,
  sublayerRule,
  sourceRule,
  sequenceRule,
  ...MTU_RULES,
  spoofedRule,
  invalidRule,
  featureRule,
  silenceRule,
];
