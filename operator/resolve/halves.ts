/** Tunnels and sessions of two halves (model/halves.ts): what each is to have, and how they look as one. */
import type { Listing, SessionState, TunnelState } from "../../datapath/datapath.ts";
import { isCarrying } from "../../l2tp/control/circuit-status.ts";
import { agreed } from "../../model/carried.ts";
import { deviceName } from "../../model/device-name.ts";
import { tunnelDifference } from "../../model/difference.ts";
import {
  controlHalf,
  halfName,
  isControlHalf,
  isHandedOver,
  wholeName,
} from "../../model/halves.ts";
import type { Session, Tunnel } from "../../model/model.ts";
import type { ResolvedSession } from "./resolved.ts";

/** A session as its frames are to be carried. */
export interface Carried {
  readonly session: Session;
  /** Whether its device is to be up. */
  readonly isUp: boolean;
}

/** Whether what carries the session is told by its control half. */
export function isAgreedOn({
  session,
  tunnel,
}: Pick<ResolvedSession, "session" | "tunnel">): boolean {
  return isHandedOver(tunnel) && session.control !== undefined;
}

/** All tunnels, control halves first: the kernel takes what they have given it. */
export function inHalves(tunnels: readonly Tunnel[]): Tunnel[] {
  return [...tunnels.filter(isHandedOver).map(controlHalf), ...tunnels];
}

/**
 * How sessions are to be carried, as their ends have agreed on: null where they have not. A device of the kernel's has
 * no carrier to take away, so it is down while the peer's circuit is, and when the agreement has ended it stays so until
 * there is another.
 */
export function carriers(listing: Listing): (resolved: ResolvedSession) => Carried | null {
  const sessions = new Map(listing.sessions.map((state) => [state.session.key, state]));
  const tunnels = new Map(listing.tunnels.map((state) => [state.tunnel.name, state]));
  return (resolved) => {
    if (!isAgreedOn(resolved)) return { session: resolved.session, isUp: true };
    const { control: _, ...session } = resolved.session;
    const half = controlHalf(resolved.tunnel);
    const held = tunnels.get(half.name);
    if (held === undefined || held.isLost) return null;
    if (tunnelDifference(held.tunnel, half) === "anew") return null;
    const signalled = sessions.get(halfName(session.key));
    // What was agreed on in another tunnel is over.
    const isThere = signalled?.session.tunnel === half.name;
    const established = isThere ? signalled.control?.established : null;
    if (established) {
      return { session: agreed(session, established), isUp: isCarrying(established.peerCircuit) };
    }
    const left = sessions.get(session.key);
    const isLeft = left?.datapath === "Kernel" && left.session.tunnel === session.tunnel;
    return isLeft ? { session: left.session, isUp: false } : null;
  };
}

/** The listing with one tunnel and one session for both halves. Ids are those of the manifests. */
export function asOne({ tunnels, sessions, ...rest }: Listing): Listing {
  const tunnelHalves = halvesOf(tunnels, ({ tunnel }) => tunnel.name);
  const sessionHalves = halvesOf(sessions, ({ session }) => session.key);
  return {
    ...rest,
    tunnels: Array.from(tunnelHalves, ([name, { control, kernel }]) =>
      control === undefined ? (kernel as TunnelState) : wholeTunnel(name, control, kernel),
    ),
    sessions: Array.from(sessionHalves, ([key, { control, kernel }]) =>
      control === undefined ? (kernel as SessionState) : wholeSession(key, control, kernel),
    ),
  };
}

interface Halves<T> {
  control?: T;
  /** Or that of what has no halves. */
  kernel?: T;
}

function halvesOf<T>(items: readonly T[], nameOf: (item: T) => string): Map<string, Halves<T>> {
  const found = new Map<string, Halves<T>>();
  for (const item of items) {
    const name = wholeName(nameOf(item));
    const halves = found.get(name) ?? {};
    halves[isControlHalf(nameOf(item)) ? "control" : "kernel"] = item;
    found.set(name, halves);
  }
  return found;
}

function wholeTunnel(name: string, control: TunnelState, kernel?: TunnelState): TunnelState {
  const { handsOver: _, ...tunnel } = control.tunnel;
  return {
    ...control,
    tunnel: { ...tunnel, name, datapath: "Kernel" },
    endpoint: { ...control.endpoint, ...(kernel === undefined ? {} : received(kernel)) },
  };
}

/** What the kernel counts; what it cannot give to a session it leaves to the process. */
function received({ endpoint: { rxPackets, rxErrors } }: TunnelState) {
  return { rxPackets, rxErrors };
}

function wholeSession(key: string, control: SessionState, kernel?: SessionState): SessionState {
  const session = { ...control.session, key, tunnel: wholeName(control.session.tunnel) };
  if (kernel === undefined) return { ...control, session, datapath: "Kernel" };
  return {
    ...kernel,
    session,
    carried: kernel.session,
    ...(control.control === undefined ? {} : { control: control.control }),
  };
}

/** What the session's own device is called on the node. @param live as it is programmed */
export function ownDeviceName(
  { session, tunnel }: Pick<ResolvedSession, "session" | "tunnel">,
  live: Pick<SessionState, "carried"> | undefined,
): string {
  return deviceName(live?.carried ?? session, tunnel.datapath);
}
