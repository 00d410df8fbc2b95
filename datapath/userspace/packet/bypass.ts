/** Devices whose frames may bypass the process. */
import type { DeviceOffload, Tap } from "../../../linux/tun.ts";
import type { Features } from "../../../model/features.ts";
import type { Session, Tunnel } from "../../../model/model.ts";
import type { DevicePlace } from "../../datapath.ts";
import type { AcceptedGso, FrameDevice } from "./ports.ts";
import type { PacketSession } from "./session.ts";

/** Frames of a session that its device exchanged with the peer without this process. */
export interface BypassedFrames {
  readonly txPackets: number;
  readonly txBytes: number;
  readonly rxPackets: number;
  readonly rxBytes: number;
  /** Milliseconds since the last frame came in; null: none yet. */
  readonly lastReceivedMsAgo: number | null;
  /** The features by which frames bypass the process now. */
  readonly features: Features;
}

/** The bypassing devices of a process. Methods that get a device leave those of others alone. */
export interface BypassDevices {
  /** One of them is readable when `hear` has something to do. */
  readonly fds: readonly number[];
  /** When `poll` has something to do, by the loop's clock. */
  readonly deadline: number;
  /** @param lost is called with the key of each session whose device has gone */
  hear(now: number, lost: (key: string) => void): void;
  poll(now: number, lost: (key: string) => void): void;
  /**
   * The session's device at the place; created if nothing stands there and the session can bypass the process.
   * @param session as it is to be
   * @param acceptedGso by the process's side of the device
   * @returns null: it has to be a TAP device @throws SystemError
   */
  open(
    known: PacketSession,
    session: Session,
    tunnel: Tunnel,
    place: DevicePlace,
    offload: DeviceOffload,
    acceptedGso: (tap: Tap) => AcceptedGso,
  ): FrameDevice | null;
  /** The descriptor of the process's side is the caller's; the pod's end stays, without a carrier. */
  close(device: FrameDevice | null): void;
  /** As `close`, and deletes the pod's end, wherever it stands. */
  delete(device: FrameDevice): void;
  /** @returns false: the device is another's */
  setCarrier(device: FrameDevice, on: boolean): boolean;
  /** The session, its tunnel or its device is as it is from now on. */
  settle(session: PacketSession, device: FrameDevice | null): void;
  /** The session is no more. */
  forget(session: PacketSession): void;
  /** Null: the session never had such a device. */
  framesOf(session: PacketSession): BypassedFrames | null;
}

/** A way past the process. */
export interface BypassKind {
  /** True if frames of such a session may bypass the process. */
  isFor(session: Session, tunnel: Tunnel): boolean;
  /** @param log is called with what goes wrong @returns null: the kernel or a missing capability does not allow it */
  start(log: (line: string) => void): BypassDevices | null;
  /** The session's device at the place is deleted. False: there was nothing of it. */
  removeAt(place: DevicePlace, key: string): boolean;
}
