/**
 * The two parts of a managed kernel tunnel. The datapath process has the control connection, and gives the kernel its
 * socket. The kernel has the sessions, as negotiated. All other code sees one tunnel.
 */
import type { Tunnel } from "../../model/model.ts";
import type { Listing, SessionState, TunnelState } from "../datapath.ts";
import { MANAGED_KERNEL } from "./traits.ts";

const { name: NAME } = MANAGED_KERNEL;

/** The tunnel in the process. A process of an earlier version recognizes it by `handsOver`. */
type ControlTunnel = Tunnel & { readonly handsOver?: true };

/** Returns the tunnel to put into the process. */
export function controlTunnel(tunnel: Tunnel): ControlTunnel {
  return { ...tunnel, datapath: "Userspace", socketOwner: NAME, handsOver: true };
}

/** Returns the tunnel that belongs to the process's part. */
export function wholeTunnel(control: ControlTunnel): Tunnel {
  const { socketOwner: _, handsOver: __, ...tunnel } = control;
  return { ...tunnel, datapath: NAME };
}

/**
 * Returns one listing of both parts, with the objects' IDs.
 * @param control the process's part, its tunnels converted by `wholeTunnel`
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

/** The kernel counts frames. Messages without a session reach the process, which counts those. */
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
