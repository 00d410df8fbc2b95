/**
 * What a pseudowire type is: the only place where the rest of the project asks about one. A type is one file in this
 * folder and one line in index.ts; docs/adr/0030-pseudowire-types-and-attachments.md has the reasons.
 */
import { ETHERNET_HEADER_BYTES, VLAN_TAG_BYTES } from "../../net/headers.ts";

/** A device of the kernel's TUN/TAP driver that carries a session's frames to and from its pod. */
export interface PseudowireDevice {
  readonly kind: "TAP" | "TUN";
  /** True if the device has a MAC address, and neighbors to announce it to. */
  readonly hasMac: boolean;
  /** Bytes of each frame that the device's MTU leaves out. */
  readonly headerBytes: number;
  /** Bytes by which a frame may exceed the MTU and the header, as with a VLAN tag (is_skb_forwardable). */
  readonly spareBytes: number;
}

/** Ethernet frames. */
export const TAP: PseudowireDevice = {
  kind: "TAP",
  hasMac: true,
  headerBytes: ETHERNET_HEADER_BYTES,
  spareBytes: VLAN_TAG_BYTES,
};

/** IP datagrams without a link-layer header. */
export const TUN: PseudowireDevice = { kind: "TUN", hasMac: false, headerBytes: 0, spareBytes: 0 };

/** The memory that a frame is in. */
export interface FrameMemory {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** The frame is dropped, and counted as an error. */
export const DROPPED = -1;

/**
 * Rewrites frames in place between the device and the wire. Pure; must not allocate or throw. Each method gets the
 * frame from `at` to `end`, and returns where the frame begins afterwards, or DROPPED; its end stays.
 */
export interface FrameRewriter {
  /** From the device to the wire: may begin up to MAX_GROWTH_BYTES before `at`. */
  toWire(memory: FrameMemory, at: number, end: number): number;
  /** From the wire to the device: may begin up to 4 bytes before `at`, over the session's header. */
  fromWire(memory: FrameMemory, at: number, end: number): number;
}

/** Bytes that `toWire` may put in front of a frame. */
export const MAX_GROWTH_BYTES = 32;

/** The pseudowire's part of a session. */
export interface PseudowireSettings {
  /** The name of the type; absent: Ethernet. */
  readonly pseudowireType?: string;
  /** The MTU of the session's device, in bytes. */
  readonly mtu: number;
}

export interface PseudowireType {
  /** The value of spec.pseudowireType. */
  readonly name: string;
  /** In PW Type and PW Capabilities AVPs (RFC 3931, 5.4.3 and 5.4.4; registry of RFC 4446). */
  readonly number: number;
  /** Null: the session has no device, as when its frames go to another session. */
  readonly device: PseudowireDevice | null;
  /** Bytes of each frame on the wire that the device's MTU leaves out. */
  readonly wireHeaderBytes: number;
  /** The smallest frame on the wire, in bytes; smaller ones are dropped as invalid. */
  readonly minFrameBytes: number;
  /** The type by which the kernel's L2TP makes such a session (enum l2tp_pwtype), or why it cannot, to end a sentence. */
  readonly kernel: { readonly number: number } | { readonly whyNot: string };
  /** True if the device may hand over large frames, and take joined ones: frames that are not rewritten. */
  readonly hasOffloads: boolean;
  /** True if the fast path's programs can carry it: Ethernet frames, not rewritten. */
  readonly hasFastPath: boolean;
  /** Absent: a frame is on the wire as the device has it. Called when the session is configured. */
  readonly createRewriter?: (settings: PseudowireSettings) => FrameRewriter;
  /**
   * A guess, for the doctor: whether the frame looks as if the peer's L2-specific sublayer were not ours. Absent: no
   * guess. Pure; must not allocate or throw.
   * @param expectsSublayer by our own configuration
   */
  readonly looksMisaligned?: (
    view: DataView,
    at: number,
    bytes: number,
    expectsSublayer: boolean,
  ) => boolean;
}
