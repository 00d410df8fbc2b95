/** How a datapath is changed: plain data. */
import type { Session, Tunnel } from "./model.ts";

/** Where a device stands: a namespace by path (null: the node's), and its name there. */
export interface DevicePlace {
  readonly netns: string | null;
  readonly name: string;
}

/** One change. Putting again or deleting what is gone does nothing. */
export type Change =
  | { readonly op: "putTunnel"; readonly tunnel: Tunnel }
  /** With its sessions. */
  | { readonly op: "deleteTunnel"; readonly name: string }
  | {
      readonly op: "putSession";
      readonly session: Session;
      /** As its frames are forwarded, where that is not as `session` says; null: they are not. */
      readonly forwarding?: Session | null;
      /**
       * Where to open the device, or to make it where there is none; "keep" the open one; null: none. A datapath that
       * makes devices makes it on the node, by the name of its traits.
       */
      readonly device: DevicePlace | "keep" | null;
    }
  /** The agent deletes a device that the datapath does not make: the packets need not stop for that. */
  | { readonly op: "deleteSession"; readonly key: string }
  /** Deletes the device of a session that outlives it, wherever it stands. The session stays. */
  | { readonly op: "deleteDevice"; readonly key: string };
