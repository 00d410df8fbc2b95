/** A node interface that a session is connected to in place of pods. */
import type { Link } from "../plan.ts";

/** The interface of spec.attachment, with its state on the node. */
export interface NodeInterface {
  readonly name: string;
  /** Addresses such as "192.0.2.1/24", if the interface is the session's own device. */
  readonly addresses: readonly string[];
  readonly state: InterfaceState;
}

export type InterfaceState =
  /** The session's device is the interface. */
  | { readonly kind: "own" }
  /** The interface and the session's device forward frames to each other. */
  | {
      readonly kind: "joined";
      readonly index: number;
      readonly mtu: number;
      readonly isUp: boolean;
    }
  /** The interface is a bridge, and the session's device is a port of it. */
  | { readonly kind: "port"; readonly bridge: string; readonly isUp: boolean }
  /** The reason and the message are those of the condition Attached. */
  | { readonly kind: "unusable"; readonly reason: string; readonly message: string };

/** The part of an attachment mode that connects the session to a node interface. */
export interface NodeMode {
  /** The remedy in the error of a pod that requests the session. */
  readonly podRemedy: string;
  /** Returns the desired device on the node. @param device the session's device without a pod */
  wantedDevice(device: Link, at: NodeInterface | undefined): Link;
}

/** Returns the name of the interface; null: it is absent or unusable. */
export function holderName(at: NodeInterface | undefined): string | null {
  return at === undefined || at.state.kind === "unusable" ? null : at.name;
}

/** True if our circuit is active: the interface exists and has a carrier. */
export function hasCircuit(at: NodeInterface | undefined): boolean {
  const state = at?.state;
  if (state === undefined || state.kind === "unusable") return false;
  return state.kind === "own" || state.isUp;
}
