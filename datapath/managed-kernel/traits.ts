/**
 * The traits of a managed kernel tunnel (L2TP_ATTR_FD): the datapath process has the socket and any control connection,
 * and the kernel forwards the frames (docs/adr/0015-managed-in-the-kernel.md, docs/adr/0037-vrfs.md).
 */
import { isCarrying } from "../../l2tp/control/circuit-status.ts";
import { sameData } from "../../l2tp/same-data.ts";
import { agreed } from "../../model/carried.ts";
import type {
  DatapathTraits,
  Difference,
  Forwarding,
  LiveSession,
  WantedSession,
} from "../../model/datapath.ts";
import type { Tunnel } from "../../model/model.ts";
import { KERNEL, needsSocket, whyNotFeatures, whyNotSupported } from "../kernel/traits.ts";

const NAME = "ManagedKernel";

export const MANAGED_KERNEL: DatapathTraits = {
  ...KERNEL,
  name: NAME,
  // The process keeps the session, and renegotiates it.
  sessionsOutliveDevices: true,
  // The process lists its tunnels.
  tunnelsNeedSessions: false,
  // Each has a connected socket.
  ports: "perRemote",
  needsProcess: true,
  tunnelDifference,
  serves: needsSocket,
  whyNot: (tunnel, host) =>
    whyNotFeatures(tunnel) ??
    whyNotManaged(tunnel, host.isOpen) ??
    whyNotBound(tunnel) ??
    whyNotSupported(tunnel, host),
  // Quiescent tunnels, and tunnels without a control connection, have static sessions.
  waitsForAgreement: ({ session }) => session.control !== undefined,
  forwarding,
};

/** The process changes its control connection in place. Neither the process nor the kernel can change the socket. */
function tunnelDifference(known: Tunnel, wanted: Tunnel): Difference {
  const { control: before, ...had } = known;
  const { control: after, ...wants } = wanted;
  if (!sameData(had, wants)) return "replace";
  return sameData(before, after) ? "none" : "inPlace";
}

/** l2tp_ip_bind searches for the address only in the node's main tables (net/l2tp/l2tp_ip.c). */
function whyNotBound({ encapsulation, device }: Tunnel): string | null {
  return encapsulation === "UDP" || device === undefined
    ? null
    : `the kernel's L2TP over IP cannot be bound to ${device.name}`;
}

function whyNotManaged({ control }: Tunnel, isOpen: boolean): string | null {
  if (control === undefined) return null;
  // Each renegotiation recreates the session's device.
  if (isOpen)
    return "a tunnel with a control connection uses the kernel only with spec.datapath Kernel";
  if (control.backups.length > 0) return "backups require the userspace datapath";
  return null;
}

/**
 * Returns how to forward: as negotiated, or a static session of a quiescent tunnel as given. A kernel device has no
 * carrier to clear, so it is set down while the peer's circuit is down, and after the session has ended until it is
 * renegotiated.
 */
function forwarding(
  { session: wanted, tunnel }: WantedSession,
  { tunnel: held, session: live }: LiveSession,
): Forwarding | null {
  if (wanted.control === undefined) return { session: wanted, isUp: true };
  if (held?.datapath !== NAME || tunnelDifference(held, tunnel) === "replace") return null;
  // An agreement in another tunnel has ended.
  if (live?.datapath !== NAME || live.session.tunnel !== tunnel.name) return null;
  const { control: _, ...session } = wanted;
  if (live.established !== null) {
    const { peerCircuit } = live.established;
    return { session: agreed(session, live.established), isUp: isCarrying(peerCircuit) };
  }
  const left = live.forwarding;
  return left?.tunnel === session.tunnel ? { session: left, isUp: false } : null;
}
