/** Devices whose frames may bypass the process. */
import type { DeviceOffload, Tap } from "../../../linux/tun.ts";
import type { Features } from "../../../model/features.ts";
import type { Session, Tunnel } from "../../../model/model.ts";
import type { DevicePlace } from "../../datapath.ts";
import type { AcceptedGso, FrameDevice } from "./ports.ts";
import type { PacketSession } from "./session.ts";

/** Counters of a session's frames that bypassed this process. */
export interface BypassedFrames {
  readonly txPackets: number;
  readonly txBytes: number;
  readonly rxPackets: number;
  readonly rxBytes: number;
  /** Milliseconds since the last received frame; null: none yet. */
  readonly lastReceivedMsAgo: number | null;
  /** The features with which frames currently bypass the process. */
  readonly features: Features;
}

/** The bypassing devices of a process. Methods with a device parameter ignore devices of other kinds. */
export interface BypassDevices {
  /** Descriptors, one of which is readable when `hear` must be called. */
  readonly fds: readonly number[];
  /** The time of the loop's clock at which `poll` must be called. */
  readonly deadline: number;
  /** @param lost is called with the key of each session whose device was deleted */
  hear(now: number, lost: (key: string) => void): void;
  poll(now: number, lost: (key: string) => void): void;
  /**
   * Opens the session's device at the place. Creates it if the place is empty and the session can bypass the process.
   * @param session the session to program
   * @param acceptedGso returns what the process's side of the device accepts
   * @returns null: the session needs a TAP device @throws SystemError
   */
  open(
    known: PacketSession,
    session: Session,
    tunnel: Tunnel,
    place: DevicePlace,
    offload: DeviceOffload,
    acceptedGso: (tap: Tap) => AcceptedGso,
  ): FrameDevice | null;
  /** Closes the device. The pod's end remains, without a carrier. The caller closes the process's descriptor. */
  close(device: FrameDevice | null): void;
  /** As `close`, and deletes the pod's end, also after it was moved. */
  delete(device: FrameDevice): void;
  /** @returns false: the device is of another kind */
  setCarrier(device: FrameDevice, on: boolean): boolean;
  /** Applies the current state of the session, its tunnel and its device. */
  settle(session: PacketSession, device: FrameDevice | null): void;
  /** The session was deleted. */
  forget(session: PacketSession): void;
  /** Returns null if the session never had such a device. */
  framesOf(session: PacketSession): BypassedFrames | null;
}

/** A kind of bypass. */
export interface BypassKind {
  /** True if frames of such a session may bypass the process. */
  isFor(session: Session, tunnel: Tunnel): boolean;
  /** @param log is called with each failure @returns null: the kernel lacks a feature, or the process a capability */
  start(log: (line: string) => void): BypassDevices | null;
  /** Deletes the session's device at the place. False: the place has no such device. */
  removeAt(place: DevicePlace, key: string): boolean;
}
