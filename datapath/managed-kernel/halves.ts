/**
 * The two parts of a managed kernel tunnel: the process has the control connection, and gives the kernel its socket;
 * the kernel has the sessions as their ends have agreed. Elsewhere they are one tunnel.
 */
import type { Tunnel } from "../../model/model.ts";
import type { Listing, SessionState, TunnelState } from "../datapath.ts";
import { MANAGED_KERNEL } from "./traits.ts";

const { name: NAME } = MANAGED_KERNEL;

/** The tunnel as the process has it. A process of an earlier version knows it by `handsOver`. */
type ControlTunnel = Tunnel & { readonly handsOver?: true };

/** The tunnel as the process is to have it. */
export function controlTunnel(tunnel: Tunnel): ControlTunnel {
  return { ...tunnel, datapath: "Userspace", socketOwner: NAME, handsOver: true };
}

/** The tunnel itself, of what the process has. */
export function wholeTunnel(control: ControlTunnel): Tunnel {
  const { socketOwner: _, handsOver: __, ...tunnel } = control;
  return { ...tunnel, datapath: NAME };
}

/**
 * One listing of both parts. Ids are those of the objects.
 * @param control its tunnels as `wholeTunnel` makes them
 */
export function joinListings(control: Listing, kernel: Listing): Listing {
  const received = new Map(kernel.tunnels.map((state) => [state.tunnel.name, state]));
  const forwarded = new Map(kernel.sessions.map((state) => [state.session.key, state]));
  const signalled = new Set(control.sessions.map(({ session }) => session.key));
  return {
    ...control,
    tunnels: control.tunnels.map((state) => joinTunnel(state, received.get(state.tunnel.name))),
    sessions: [
      ...control.sessions.map((state) => joinSession(state, forwarded.get(state.session.key))),
      ...kernel.sessions
        .filter(({ session }) => !signalled.has(session.key))
        .map((state) => ({ ...state, datapath: NAME, forwarding: state.session })),
    ],
  };
}

/** The kernel counts frames; what it cannot give to a session it leaves to the process. */
function joinTunnel(control: TunnelState, kernel: TunnelState | undefined): TunnelState {
  if (kernel === undefined) return control;
  const { rxPackets, rxErrors } = kernel.endpoint;
  return { ...control, endpoint: { ...control.endpoint, rxPackets, rxErrors } };
}

function joinSession(signalled: SessionState, kernel: SessionState | undefined): SessionState {
  const { session, control } = signalled;
  if (kernel === undefined) return { ...signalled, datapath: NAME, forwarding: null };
  const state = { ...kernel, session, datapath: NAME, forwarding: kernel.session };
  return control === undefined ? state : { ...state, control };
}
