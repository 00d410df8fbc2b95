/** An interface of the node that has a session in place of pods. */
import type { Link } from "../plan.ts";

/** The interface of spec.attachment, and what the agent found under its name. */
export interface NodeInterface {
  readonly name: string;
  /** "192.0.2.1/24"; of an interface that is the session's own device. */
  readonly addresses: readonly string[];
  readonly state: InterfaceState;
}

export type InterfaceState =
  /** The session's device has the name. */
  | { readonly kind: "own" }
  /** Frames go from the interface to the session's device, and back. */
  | {
      readonly kind: "joined";
      readonly index: number;
      readonly mtu: number;
      readonly isUp: boolean;
    }
  /** The session's device is a port of the bridge that has the name. */
  | { readonly kind: "port"; readonly bridge: string; readonly isUp: boolean }
  /** The reason is one of a condition. */
  | { readonly kind: "unusable"; readonly reason: string; readonly message: string };

/** What a mode in which the node has the session wants of the node. */
export interface NodeMode {
  /** Tells a pod that asks for the session what to do. */
  readonly podRemedy: string;
  /** The session's device on the node. @param device as it stands there without a pod */
  wantedDevice(device: Link, at: NodeInterface | undefined): Link;
}

/** The name of the interface, if it has the session. */
export function holderName(at: NodeInterface | undefined): string | null {
  return at === undefined || at.state.kind === "unusable" ? null : at.name;
}

/** True if our circuit is active: the interface is there, and has a carrier. */
export function hasCircuit(at: NodeInterface | undefined): boolean {
  const state = at?.state;
  if (state === undefined || state.kind === "unusable") return false;
  return state.kind === "own" || state.isUp;
}
