/** Finds sessions that receive nothing if no other finding explains it. */
import { isCarrying } from "../../../l2tp/control/circuit-status.ts";
import type { Session, SessionCounters, Tunnel } from "../../../model/model.ts";
import { counted, error, type SessionCase, type SessionFinding, warning } from "./picture.ts";

/** An idle peer can be silent for as long. */
const SILENCE_MS = 30_000;

/** The last few frames may still be in flight. */
const CERTAIN = 5;

/** Counters of dropped frames that have findings of their own. */
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
  const since = silent === null ? "so far" : `for ${Math.round(silent / 1000)} s`;
  const sent = grown.txPackets <= 0 ? "" : `sent ${counted(grown.txPackets, "frame")}, `;
  const compare = tunnel === undefined ? "" : whatToCompare(onWire ?? state.session, tunnel.tunnel);
  return warning(`${sent}received nothing ${since}`, `${firstCheck(of)}${compare}`);
};

function isExplained({ state: { control }, grown, wire }: SessionCase): boolean {
  // The conditions say that the session is not established, or that the peer's circuit is down.
  const { established = null } = control ?? {};
  if (control !== undefined && (established === null || !isCarrying(established.peerCircuit))) {
    return true;
  }
  const others = (wire?.unknownSessions.count ?? 0) + (wire?.otherPorts.count ?? 0);
  return others > 0 || EXPLAINED.some((name) => grown[name] > 0);
}

/** The capture sees frames before the node's packet filter and before checksum validation. */
export const lostOnNode: SessionFinding = (of) => {
  const { state, grown, wire } = of;
  const arrived = wire?.rightMessages.get(state.session.key) ?? 0;
  if (arrived < CERTAIN || grown.rxPackets > 0 || grown.rxNoDevice > 0) return null;
  if (isExplained(of)) return null;
  return error(
    `${arrived} frames reached the node but not the datapath`,
    "check this node's own firewall (nft list ruleset) and the peer's UDP checksums; over IPv6, zero checksums need spec.udpChecksum: false",
  );
};

function firstCheck({ wire, tunnel }: SessionCase): string {
  const over = tunnel === undefined ? "the tunnel" : describePort(tunnel.tunnel);
  return wire !== null && wire.received > 0
    ? "datagrams of the peer arrive, but not for this session: check that the session is up at the peer."
    : `check that the peer is up, and that firewalls pass ${over} in both directions.`;
}

function describePort({ encapsulation, local, remote }: Tunnel): string {
  return encapsulation === "UDP"
    ? `UDP between ${local.address} port ${local.port} and ${remote.address} port ${remote.port}`
    : `IP protocol 115 between ${local.address} and ${remote.address}`;
}

/** Returns the expected configuration in the peer's terms: this node's transmit cookie is its receive cookie. */
function whatToCompare(session: Session, { encapsulation, local, remote }: Tunnel): string {
  const { sessionId, peerSessionId, rxCookie, txCookie, l2SpecificSublayer } = session;
  const ports =
    encapsulation === "UDP" ? `, UDP from port ${remote.port} to port ${local.port}` : "";
  return (
    ` Compare at the peer: local session ID ${peerSessionId}, remote session ID ${sessionId}; ` +
    `transmit cookie of ${rxCookie.length / 2} bytes, receive cookie of ${txCookie.length / 2} bytes; ` +
    `L2-specific sublayer ${l2SpecificSublayer}${ports}, remote address ${local.address}`
  );
}
