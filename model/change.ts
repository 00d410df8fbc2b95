/** Changes of a datapath, as plain data. */
import type { Session, Tunnel } from "./model.ts";

/** Place of a device: a namespace by path (null: the node's), and the name there. */
export interface DevicePlace {
  readonly netns: string | null;
  readonly name: string;
}

/** One change. Repeating a put, or deleting a missing object, has no effect. */
export type Change =
  | { readonly op: "putTunnel"; readonly tunnel: Tunnel }
  /** Deletes the tunnel with its sessions. */
  | { readonly op: "deleteTunnel"; readonly name: string }
  | {
      readonly op: "putSession";
      readonly session: Session;
      /** The forwarding, if it differs from `session`; null: frames are not forwarded. */
      readonly forwarding?: Session | null;
      /**
       * The place to open the device, or to create it if missing; "keep": the open device stays; null: no device. A
       * datapath that creates devices creates it on the node, by the name of its traits.
       */
      readonly device: DevicePlace | "keep" | null;
    }
  /** Deletes the session. The agent deletes a device that the datapath did not create, without stopping packets. */
  | { readonly op: "deleteSession"; readonly key: string }
  /** Deletes the session's device in any namespace. The session stays. */
  | { readonly op: "deleteDevice"; readonly key: string };
