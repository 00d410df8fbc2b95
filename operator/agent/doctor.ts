/**
 * Explains why a pseudowire does not pass frames. Pure: the input is two snapshots of the counters and the datagrams
 * captured in between. To add a finding, add a function in findings/ and a line here.
 */
import type { Listing, SessionState, TunnelState } from "../../datapath/datapath.ts";
import { sessionOnWire } from "../../datapath/on-wire.ts";
import type { EndpointCounters, SessionCounters } from "../../model/model.ts";
import type { Finding } from "../agent-protocol.ts";
import { controlFlood, controlOfStatic, unsignedMessages } from "./findings/control-messages.ts";
import { cookie } from "./findings/cookie.ts";
import { device } from "./findings/device.ts";
import { congestionDiscards, ecnNotAgreed } from "./findings/ecn.ts";
import { endpointErrors, foreignDatagrams } from "./findings/endpoint.ts";
import { receiveErrors, transmitErrors } from "./findings/errors.ts";
import { missingFeature } from "./findings/features.ts";
import { interfaceMtu } from "./findings/interface.ts";
import { mtuOfPath, mtuOfPeer, oversize } from "./findings/mtu.ts";
import type {
  NodeKnowledge,
  SessionCase,
  SessionFinding,
  TunnelCase,
  TunnelFinding,
} from "./findings/picture.ts";
import { otherPort } from "./findings/ports.ts";
import { olderCookie } from "./findings/previous-cookie.ts";
import { sequence } from "./findings/sequence.ts";
import { lostOnNode, silence } from "./findings/silence.ts";
import { tooShort } from "./findings/sizes.ts";
import { source } from "./findings/source.ts";
import { spoofed } from "./findings/spoofed.ts";
import { sublayer } from "./findings/sublayer.ts";
import { underlay } from "./findings/underlay.ts";
import { unknownSession } from "./findings/unknown-session.ts";
import { otherVlan, podTag, untagged } from "./findings/vlan.ts";
import type { SessionSightings, TunnelWire } from "./findings/wire.ts";

const TUNNEL_FINDINGS: readonly TunnelFinding[] = [
  underlay,
  unknownSession,
  otherPort,
  controlOfStatic,
  controlFlood,
  unsignedMessages,
  ecnNotAgreed,
  foreignDatagrams,
  endpointErrors,
];

const SESSION_FINDINGS: readonly SessionFinding[] = [
  device,
  cookie,
  olderCookie,
  congestionDiscards,
  sublayer,
  source,
  sequence,
  oversize,
  tooShort,
  untagged,
  otherVlan,
  podTag,
  receiveErrors,
  transmitErrors,
  spoofed,
  mtuOfPath,
  mtuOfPeer,
  interfaceMtu,
  missingFeature,
  lostOnNode,
  silence,
];

/** @param wires the captured datagrams, by the name of the tunnel */
export function diagnose(
  before: Listing,
  after: Listing,
  around: NodeKnowledge,
  wires: ReadonlyMap<string, TunnelWire> = new Map(),
): Finding[] {
  const tunnels = new Map(after.tunnels.map((state) => [state.tunnel.name, state]));
  const earlierTunnels = new Map(before.tunnels.map((state) => [state.tunnel.name, state]));
  const earlier = new Map(before.sessions.map((state) => [state.session.key, state]));
  const sessions = after.sessions.map((state) => {
    const tunnel = tunnels.get(state.session.tunnel);
    const wire = wires.get(state.session.tunnel) ?? null;
    return sessionCase(state, earlier.get(state.session.key), tunnel, wire, around);
  });
  const inTunnels = Map.groupBy(sessions, ({ state }) => state.session.tunnel);
  const cases = after.tunnels.map((state) => {
    const { name } = state.tunnel;
    const inside = inTunnels.get(name) ?? [];
    return tunnelCase(state, earlierTunnels.get(name), inside, wires.get(name) ?? null, around);
  });
  return [
    ...cases.flatMap((of) => found(`L2tpTunnel ${of.state.tunnel.name}`, TUNNEL_FINDINGS, of)),
    ...sessions.flatMap((of) => found(`L2tpSession ${of.state.session.key}`, SESSION_FINDINGS, of)),
  ];
}

function found<T>(
  object: string,
  findings: readonly ((of: T) => Omit<Finding, "object"> | null)[],
  of: T,
): Finding[] {
  return findings.flatMap((finding) => {
    const fault = finding(of);
    return fault === null ? [] : [{ object, ...fault }];
  });
}

function tunnelCase(
  state: TunnelState,
  before: TunnelState | undefined,
  sessions: readonly SessionCase[],
  wire: TunnelWire | null,
  around: NodeKnowledge,
): TunnelCase {
  const grown = growth(before?.endpoint, state.endpoint);
  return {
    state,
    before,
    grown: withEndpointSightings(grown, state, wire),
    wire,
    sessions,
    around,
  };
}

/** Returns the larger of the capture's and the datapath's numbers. */
function withEndpointSightings(
  grown: EndpointCounters,
  { control }: TunnelState,
  wire: TunnelWire | null,
): EndpointCounters {
  if (wire === null) return grown;
  const rxUnknownSession = Math.max(grown.rxUnknownSession, wire.unknownSessions.count);
  const controlMessages = control === undefined ? wire.controlMessages : 0;
  return { ...grown, rxUnknownSession, rxControl: Math.max(grown.rxControl, controlMessages) };
}

function sessionCase(
  state: SessionState,
  before: SessionState | undefined,
  tunnel: TunnelState | undefined,
  wire: TunnelWire | null,
  around: NodeKnowledge,
): SessionCase {
  const counted = growth(before?.counters, state.counters);
  const sightings = wire?.sessions.get(state.session.key);
  const seen = sightings === undefined ? counted : withSightings(counted, sightings);
  const grown = withDeviceErrors(seen, before, state, around);
  return { state, onWire: sessionOnWire(state), tunnel, grown, wire, around };
}

function withSightings(grown: SessionCounters, sightings: SessionSightings): SessionCounters {
  const entries = Object.entries(sightings) as [keyof SessionSightings, number][];
  const more = entries.map(([name, count]) => [name, Math.max(count, grown[name])]);
  return { ...grown, ...Object.fromEntries(more) };
}

/**
 * Counts frames that a device refused while it was up as oversize. A device also refuses frames that are too short: the
 * capture shows those.
 */
function withDeviceErrors(
  grown: SessionCounters,
  before: SessionState | undefined,
  { session, deviceErrors = 0 }: SessionState,
  around: NodeKnowledge,
): SessionCounters {
  const refused = deviceErrors - (before?.deviceErrors ?? 0);
  if (refused <= 0 || grown.rxInvalid > 0) return grown;
  if (around.device(session.key)?.up !== true) return grown;
  return { ...grown, rxOversize: grown.rxOversize + refused };
}

/** Returns the growth of each counter. A counter that was reset has grown by its present value. */
function growth<T extends EndpointCounters | SessionCounters>(before: T | undefined, after: T): T {
  const earlier = new Map(Object.entries(before ?? {}));
  const entries = Object.entries(after).map(([name, value]: [string, number]) => {
    const then = earlier.get(name) ?? 0;
    return [name, value >= then ? value - then : value];
  });
  return Object.fromEntries(entries) as T;
}
