/**
 * Traits of a managed kernel tunnel (L2TP_ATTR_FD): the socket and any control connection are the datapath process's, and
 * the frames are the kernel's (docs/adr/0015-managed-in-the-kernel.md, docs/adr/0037-vrfs.md).
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
  // The process has the session, and learns what the ends agree on next.
  sessionsOutliveDevices: true,
  // The process tells which tunnels it holds.
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
  // In a quiescent tunnel, and in one without a control connection, the sessions are static.
  waitsForAgreement: ({ session }) => session.control !== undefined,
  forwarding,
};

/** The process changes its control connection in place, and neither it nor the kernel anything of the socket. */
function tunnelDifference(known: Tunnel, wanted: Tunnel): Difference {
  const { control: before, ...had } = known;
  const { control: after, ...wants } = wanted;
  if (!sameData(had, wants)) return "replace";
  return sameData(before, after) ? "none" : "inPlace";
}

/** l2tp_ip_bind looks for the address in the node's main tables alone (net/l2tp/l2tp_ip.c). */
function whyNotBound({ encapsulation, device }: Tunnel): string | null {
  return encapsulation === "UDP" || device === undefined
    ? null
    : `over IP the kernel's L2TP cannot be bound to ${device.name}`;
}

function whyNotManaged({ control }: Tunnel, isOpen: boolean): string | null {
  if (control === undefined) return null;
  // Each new agreement takes a new device.
  if (isOpen)
    return "a tunnel with a control connection is in the kernel only where spec.datapath asks for it";
  if (control.backups.length > 0) return "backups are the userspace datapath's";
  return null;
}

/**
 * As the ends have agreed; a static session of a quiescent tunnel as it is put. A device of the kernel's has no carrier
 * to take away, so it is down while the peer's circuit is, and when the agreement has ended it stays so until there is
 * another.
 */
function forwarding(
  { session: wanted, tunnel }: WantedSession,
  { tunnel: held, session: live }: LiveSession,
): Forwarding | null {
  if (wanted.control === undefined) return { session: wanted, isUp: true };
  if (held?.datapath !== NAME || tunnelDifference(held, tunnel) === "replace") return null;
  // An agreement in another tunnel is over.
  if (live?.datapath !== NAME || live.session.tunnel !== tunnel.name) return null;
  const { control: _, ...session } = wanted;
  if (live.established !== null) {
    const { peerCircuit } = live.established;
    return { session: agreed(session, live.established), isUp: isCarrying(peerCircuit) };
  }
  const left = live.forwarding;
  return left?.tunnel === session.tunnel ? { session: left, isUp: false } : null;
}
