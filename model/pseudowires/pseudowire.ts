/**
 * The interface of a pseudowire type, which the rest of the project uses instead of type names. A type is one file in
 * this folder and one line in index.ts. Reasons: docs/adr/0030-pseudowire-types-and-attachments.md.
 */
import { ETHERNET_HEADER_BYTES, VLAN_TAG_BYTES } from "../../net/headers.ts";

/** A device of the kernel's TUN/TAP driver that carries a session's frames to and from its pod. */
export interface PseudowireDevice {
  readonly kind: "TAP" | "TUN";
  /** True if the device has a MAC address, which ADD announces to neighbors. */
  readonly hasMac: boolean;
  /** Bytes of each frame that the device's MTU does not count. */
  readonly headerBytes: number;
  /** Bytes by which a frame may exceed the MTU and the header, as with a VLAN tag (is_skb_forwardable). */
  readonly spareBytes: number;
}

/** A device for Ethernet frames. */
export const TAP: PseudowireDevice = {
  kind: "TAP",
  hasMac: true,
  headerBytes: ETHERNET_HEADER_BYTES,
  spareBytes: VLAN_TAG_BYTES,
};

/** A device for IP datagrams without a link-layer header. */
export const TUN: PseudowireDevice = { kind: "TUN", hasMac: false, headerBytes: 0, spareBytes: 0 };

/** The memory that contains a frame. */
export interface FrameMemory {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** Returned for a dropped frame. The caller counts an error; the rewriter has counted the reason. */
export const DROPPED = -1;

/** Counters of a session for frames that its type drops, by reason, and for suspicious frames. */
export interface PseudowireCounters {
  /** Messages too short for the session's header or a frame of its type, or without a valid frame. */
  rxInvalid: number;
  /** Frames for an IP device that are neither IPv4 nor IPv6; also counted in rxInvalid. */
  rxNotIp: number;
  /** Dropped frames without a VLAN tag, or with VLAN ID 0. */
  rxUntagged: number;
  /** Dropped frames of another VLAN, or with an outer 802.1ad tag. */
  rxOtherVlan: number;
  /** Forwarded frames with a second tag after the session's tag. */
  rxInnerTagged: number;
  txUntagged: number;
  txOtherVlan: number;
  txInnerTagged: number;
}

/** Returns counters of a new session: all 0. */
export function createPseudowireCounters(): PseudowireCounters {
  return {
    rxInvalid: 0,
    rxNotIp: 0,
    rxUntagged: 0,
    rxOtherVlan: 0,
    rxInnerTagged: 0,
    txUntagged: 0,
    txOtherVlan: 0,
    txInnerTagged: 0,
  };
}

/**
 * Rewrites frames in place between the device and the wire, and counts. Must not allocate or throw. Each method gets
 * the frame from `at` to `end`, and returns the new start of the frame, or DROPPED; the end does not change. If the
 * type has offloads, the frame can be a large one, which is segmented after `toWire`, and was coalesced before
 * `fromWire`.
 */
export interface FrameRewriter {
  /** From the device to the wire: the frame can begin up to MAX_GROWTH_BYTES before `at`. */
  toWire(memory: FrameMemory, at: number, end: number): number;
  /**
   * From the wire to the device: the frame can begin up to 4 bytes before `at`, over the session's header.
   * @param frames number of received frames that were coalesced into this one
   */
  fromWire(memory: FrameMemory, at: number, end: number, frames: number): number;
}

/** Maximum bytes that `toWire` puts in front of a frame. */
export const MAX_GROWTH_BYTES = 32;

/** The pseudowire's part of a session. */
export interface PseudowireSettings {
  /** The name of the type; absent: Ethernet. */
  readonly pseudowireType?: string;
  /** The MTU of the session's device, in bytes. */
  readonly mtu: number;
  readonly vlan?: VlanSettings;
}

/** The VLAN of an EthernetVLAN session (RFC 4719). IDs are from 1 to 4094. */
export interface VlanSettings {
  /** The VLAN ID at our end, which tagged pods see. */
  readonly id: number;
  /** The VLAN ID at the peer's end, in sent frames. */
  readonly peerId: number;
  /** Tagged if the pod's frames have the tag. */
  readonly pod: "Untagged" | "Tagged";
}

/** The pseudowire's part of a manifest: spec.pseudowireType, and the fields of types. */
export interface PseudowireFields {
  readonly pseudowireType?: string;
  readonly vlan?: {
    readonly id: number;
    readonly peerId?: number;
    readonly pod?: VlanSettings["pod"];
  };
}

export type TagType = "802.1Q" | "802.1ad";

/** A change of the frame's outer tag. */
export type TagAction =
  | { readonly do: "pass" | "drop" | "pop" }
  /** Adds a tag in front, or replaces the VLAN ID of the outer tag. */
  | { readonly do: "push" | "modify"; readonly vlanId: number };

/** A rule for frames at a device. The first matching rule applies. An absent field matches all frames. */
export interface TagRule {
  readonly tag?: TagType;
  readonly vlanId?: number;
  readonly innerTag?: TagType;
  readonly action: TagAction;
  /** The counter of matching frames. */
  readonly counter?: keyof PseudowireCounters;
}

/** Rules for the kernel with the effect of the type's rewriter. */
export interface TagRules {
  readonly fromWire: readonly TagRule[];
  readonly toWire: readonly TagRule[];
}

/** The properties of a type in the kernel. */
export interface KernelPseudowire {
  /** The value of enum l2tp_pwtype. Types can share one: device names distinguish them. */
  readonly number: number;
  /** A letter in the names of the type's devices; unique. */
  readonly letter: string;
  /** Present if tc rewrites the device's frames. Some kernels cannot. */
  readonly tagRules?: (settings: PseudowireSettings) => TagRules;
}

export interface PseudowireType {
  /** The value of spec.pseudowireType. */
  readonly name: string;
  /** The number in PW Type and PW Capabilities AVPs (RFC 3931, 5.4.3 and 5.4.4; registry of RFC 4446). */
  readonly number: number;
  /** Null: the session has no device, for example because its frames go to another session. */
  readonly device: PseudowireDevice | null;
  /** Bytes of each frame on the wire that the device's MTU does not count. */
  readonly wireHeaderBytes: number;
  /** The smallest frame on the wire, in bytes; smaller ones are dropped as invalid. */
  readonly minFrameBytes: number;
  /** The properties in the kernel, or a clause that says why the kernel does not support the type. */
  readonly kernel: KernelPseudowire | { readonly whyNot: string };
  /** True if the device can send large frames, and receive coalesced ones. */
  readonly hasOffloads: boolean;
  /** True if the fast path supports the type: Ethernet frames that are not rewritten. */
  readonly hasFastPath: boolean;
  /** Returns the type's settings from a manifest. Absent: none. */
  readonly settings?: (
    fields: PseudowireFields,
  ) => Omit<PseudowireSettings, "mtu" | "pseudowireType">;
  /** Returns the settings in short, which lists show after the type's name. Absent: none. */
  readonly describe?: (settings: PseudowireSettings) => string;
  /** Called when the session is configured. Absent: frames are the same on the wire and at the device. */
  readonly createRewriter?: (
    settings: PseudowireSettings,
    counters: PseudowireCounters,
  ) => FrameRewriter;
  /**
   * A guess, for the doctor: true if the frame looks as if the peer's L2-Specific Sublayer differs from ours. Absent:
   * no guess. Pure; must not allocate or throw.
   * @param expectsSublayer true if our configuration has the sublayer
   */
  readonly looksMisaligned?: (
    view: DataView,
    at: number,
    bytes: number,
    expectsSublayer: boolean,
  ) => boolean;
}
