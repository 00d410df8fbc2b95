/** Describes control connections. */
import type { ControlConnection } from "../../../l2tp/control/connection.ts";
import type { Peering } from "../../../l2tp/control/peering.ts";
import type { PathState, TunnelControlState } from "../../control-state.ts";
import type { ManagedTunnel } from "./managed-tunnel.ts";

/**
 * @param peerings the tunnel's peerings, in its order
 * @param dropped messages from its remotes' addresses that were dropped before they were decoded
 */
export function describeTunnel(
  { active }: ManagedTunnel,
  peerings: readonly Peering[],
  dropped: number,
  now: number,
): TunnelControlState {
  const peering = peerings[active] as Peering;
  const connection = connectionOf(peering);
  const delivery = connection?.describeDelivery();
  return {
    mode: peering.config.mode,
    ...describePath(peering, now),
    active,
    paths: peerings.map((each) => describePath(each, now)),
    localConnectionId: connection?.localId ?? 0,
    peerConnectionId: connection?.peer.connectionId ?? 0,
    peerRouterId: connection?.peer.routerId ?? null,
    peerVendorName: connection?.peer.vendorName ?? null,
    peerPropagatesEcn: connection?.peer.propagatesEcn ?? false,
    window: delivery?.window ?? 0,
    peerWindow: delivery?.peerWindow ?? 0,
    unacknowledged: delivery?.unacknowledged ?? 0,
    sent: delivery?.sent ?? 0,
    received: delivery?.received ?? 0,
    retransmitted: delivery?.retransmitted ?? 0,
    unauthenticated: peerings.reduce((sum, { unauthenticated }) => sum + unauthenticated, 0),
    dropped,
  };
}

/** Returns the established connection, or one that is being established. */
function connectionOf({ established, connections }: Peering): ControlConnection | undefined {
  return established ?? connections.find(({ state }) => state !== "idle");
}

function describePath(peering: Peering, now: number): PathState {
  const { established, config, lastEnding } = peering;
  const connection = connectionOf(peering);
  const isReplaced = established === null && connection?.state === "established";
  return {
    remote: config.remote,
    state: isReplaced ? "idle" : (connection?.state ?? "idle"),
    peerHostName: connection?.peer.hostName ?? null,
    heardMsAgo: established === null ? null : Math.round(now - established.heardAt),
    lastEnding,
  };
}
