/**
 * Counts frames that kernel devices of sessions refused: larger than the MTU, or while the device was down. The kernel
 * counts them as received at the session (net/l2tp/l2tp_eth.c, l2tp_eth_dev_recv).
 */
import type { Listing, SessionState } from "../../datapath/datapath.ts";
import { traitsOf } from "../../datapath/registry/datapaths.ts";
import {
  getLinkStatistics,
  type LinkStatistics,
  listLinkStatistics,
} from "../../linux/netlink/link-statistics.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../linux/netlink/socket.ts";
import type { Attachment } from "../../model/attachments/index.ts";
import { forwardedSession } from "../../model/datapath.ts";

/** Returns the listing with such frames counted as errors, not as received. */
export function withDeviceErrors(
  listing: Listing,
  socket: NetlinkSocket,
  livingOf: (session: string) => readonly Attachment[],
): Listing {
  const hasDevice = ({ datapath }: SessionState) => traitsOf(datapath).device.isSessions;
  if (!listing.sessions.some(hasDevice)) return listing;
  const here = new Map(listLinkStatistics(socket).map((each) => [each.name, each]));
  const sessions = listing.sessions.map((state) => {
    if (!hasDevice(state)) return state;
    const inPod = podStatistics(livingOf(state.session.key));
    const statistics = inPod ?? here.get(nameOnNode(state) ?? "");
    return statistics === undefined ? state : withStatistics(state, statistics);
  });
  return { ...listing, sessions };
}

function nameOnNode(state: SessionState): string | undefined {
  const session = forwardedSession(state);
  return session === null ? undefined : traitsOf(state.datapath).deviceName(session);
}

/** Returns the statistics of the session's device if the device is a pod's interface. */
function podStatistics(attachments: readonly Attachment[]): LinkStatistics | undefined {
  const owner = attachments.find(({ device }) => device?.kind === "pseudowire");
  if (!owner?.device) return undefined;
  let socket: NetlinkSocket | undefined;
  try {
    socket = new NetlinkSocket(NETLINK_ROUTE, owner.netns);
    return getLinkStatistics(socket, owner.device.index);
  } catch {
    // The pod was deleted meanwhile.
    return undefined;
  } finally {
    socket?.close();
  }
}

function withStatistics(state: SessionState, { rxErrors, rxBytes }: LinkStatistics): SessionState {
  if (rxErrors === 0) return state;
  const { counters } = state;
  return {
    ...state,
    deviceErrors: rxErrors,
    counters: {
      ...counters,
      rxPackets: Math.max(0, counters.rxPackets - rxErrors),
      rxBytes: Math.min(counters.rxBytes, rxBytes),
      rxErrors: counters.rxErrors + rxErrors,
    },
  };
}
