/** Nothing is received, and nothing that comes tells why. */
import { isCarrying } from "../../../l2tp/control/circuit-status.ts";
import type { Session, SessionCounters, Tunnel } from "../../../model/model.ts";
import { counted, error, type SessionCase, type SessionFinding, warning } from "./picture.ts";

/** An idle peer is as silent for a while. */
const SILENCE_MS = 30_000;

/** The last of few may be on their way yet. */
const CERTAIN = 5;

/** Frames that came, and that have findings of their own. */
const EXPLAINED: readonly (keyof SessionCounters)[] = [
  ...(["rxCookieDiscards", "rxInvalid", "rxOversize", "rxSourceMismatch"] as const),
  ...(["rxSublayerSuspect", "rxSeqDiscards", "rxErrors"] as const),
];

export const silence: SessionFinding = (of) => {
  const { state, tunnel, grown, onWire } = of;
  const { lastReceivedMsAgo: silent } = state;
  if (!of.around.isAttached(state.session.key) || isExplained(of)) return null;
  if (silent !== null && silent <= SILENCE_MS) return null;
  if (lostOnNode(of) !== null) return null;
  const since = silent === null ? "ever" : `for ${Math.round(silent / 1000)} s`;
  const sent = grown.txPackets <= 0 ? "" : `${counted(grown.txPackets, "frame")} went out, and `;
  const compare = tunnel === undefined ? "" : whatToCompare(onWire ?? state.session, tunnel.tunnel);
  return warning(`${sent}nothing has been received ${since}`, `${firstQuestion(of)}${compare}`);
};

function isExplained({ state: { control }, grown, wire }: SessionCase): boolean {
  // Its conditions say that the peer's end is not there yet, or that its circuit is down.
  const { established = null } = control ?? {};
  if (control !== undefined && (established === null || !isCarrying(established.peerCircuit))) {
    return true;
  }
  const others = (wire?.unknownSessions.count ?? 0) + (wire?.otherPorts.count ?? 0);
  return others > 0 || EXPLAINED.some((name) => grown[name] > 0);
}

/** The capture sees frames before the node's packet filter, and before their checksums are checked. */
export const lostOnNode: SessionFinding = (of) => {
  const { state, grown, wire } = of;
  const arrived = wire?.rightMessages.get(state.session.key) ?? 0;
  if (arrived < CERTAIN || grown.rxPackets > 0 || grown.rxNoDevice > 0) return null;
  if (isExplained(of)) return null;
  return error(
    `${arrived} frames reached the node, and not the datapath`,
    "look at this node's own firewall (nft list ruleset), and whether the peer's UDP checksums are right; over IPv6, zero checksums need spec.udpChecksum: false",
  );
};

function firstQuestion({ wire, tunnel }: SessionCase): string {
  const over = tunnel === undefined ? "the tunnel" : describePort(tunnel.tunnel);
  return wire !== null && wire.received > 0
    ? "datagrams of the peer arrive, but none for this session: is the session up there?"
    : `is the peer up, and does a firewall pass ${over} in both directions?`;
}

function describePort({ encapsulation, local, remote }: Tunnel): string {
  return encapsulation === "UDP"
    ? `UDP between ${local.address} port ${local.port} and ${remote.address} port ${remote.port}`
    : `IP protocol 115 between ${local.address} and ${remote.address}`;
}

/** The peer's configuration, in its own words: our transmit cookie is its receive cookie. */
function whatToCompare(session: Session, { encapsulation, local, remote }: Tunnel): string {
  const { sessionId, peerSessionId, rxCookie, txCookie, l2SpecificSublayer } = session;
  const ports =
    encapsulation === "UDP" ? `, UDP from port ${remote.port} to port ${local.port}` : "";
  return (
    ` Compare at the peer: local session id ${peerSessionId}, remote session id ${sessionId}; ` +
    `it sends a cookie of ${rxCookie.length / 2} bytes and expects one of ${txCookie.length / 2}; ` +
    `L2-specific sublayer ${l2SpecificSublayer}${ports}, to the address ${local.address}`
  );
}
