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

/** The frame is dropped, and counted as an error; the rewriter has counted the reason. */
export const DROPPED = -1;

/** A session's counters of the reasons for which a type drops frames, and of frames that need watching. */
export interface PseudowireCounters {
  /** Messages too short for the session's header or for a frame of its pseudowire type, or that hold no such frame. */
  rxInvalid: number;
  /** Of the `rxInvalid`: what came for a device of IP datagrams, and is neither IPv4 nor IPv6. */
  rxNotIp: number;
  /** Frames without a VLAN tag, or with VLAN ID 0, which were dropped. */
  rxUntagged: number;
  /** Frames of another VLAN, or with an outer tag of 802.1ad, which were dropped. */
  rxOtherVlan: number;
  /** Frames with a second tag behind that of the session, which were forwarded. */
  rxInnerTagged: number;
  txUntagged: number;
  txOtherVlan: number;
  txInnerTagged: number;
}

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
 * the frame from `at` to `end`, and returns where the frame begins afterwards, or DROPPED; its end stays. If the type
 * has offloads, the frame can be a large one, which is cut behind `toWire`, and was joined before `fromWire`.
 */
export interface FrameRewriter {
  /** From the device to the wire: may begin up to MAX_GROWTH_BYTES before `at`. */
  toWire(memory: FrameMemory, at: number, end: number): number;
  /**
   * From the wire to the device: may begin up to 4 bytes before `at`, over the session's header.
   * @param frames received ones that were joined to this one
   */
  fromWire(memory: FrameMemory, at: number, end: number, frames: number): number;
}

/** Bytes that `toWire` may put in front of a frame. */
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
  /** The VLAN ID at our end, which a pod sees whose frames are tagged. */
  readonly id: number;
  /** The VLAN ID at the peer's end: of the frames that we send. */
  readonly peerId: number;
  /** Whether the pod's frames have the tag. */
  readonly pod: "Untagged" | "Tagged";
}

/** The pseudowire's part of a manifest: spec.pseudowireType, and the fields that belong to types. */
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
  /** Pushed in front of what there is, or put into the tag in place of its VLAN ID. */
  | { readonly do: "push" | "modify"; readonly vlanId: number };

/** A rule for frames at a device; the first that applies decides. A field that is left out applies to all frames. */
export interface TagRule {
  readonly tag?: TagType;
  readonly vlanId?: number;
  readonly innerTag?: TagType;
  readonly action: TagAction;
  /** The counter of frames for which the rule decided. */
  readonly counter?: keyof PseudowireCounters;
}

/** Rules that do in the kernel what the type's rewriter does in the process. */
export interface TagRules {
  readonly fromWire: readonly TagRule[];
  readonly toWire: readonly TagRule[];
}

/** A type in the kernel's L2TP. */
export interface KernelPseudowire {
  /** enum l2tp_pwtype. Types may share one: device names tell them apart. */
  readonly number: number;
  /** A letter in the names of the type's devices; unique. */
  readonly letter: string;
  /** Present: the device's frames are rewritten by tc, which the node's kernel may lack. */
  readonly tagRules?: (settings: PseudowireSettings) => TagRules;
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
  /** How the kernel's L2TP has such a session, or why it cannot, to end a sentence. */
  readonly kernel: KernelPseudowire | { readonly whyNot: string };
  /** True if the device may hand over large frames, and take joined ones. */
  readonly hasOffloads: boolean;
  /** True if the fast path's programs can carry it: Ethernet frames, not rewritten. */
  readonly hasFastPath: boolean;
  /** The settings that a session has beside the name, by its manifest. Absent: none. */
  readonly settings?: (
    fields: PseudowireFields,
  ) => Omit<PseudowireSettings, "mtu" | "pseudowireType">;
  /** The settings in a few words, which lists show behind the type's name. Absent: none. */
  readonly describe?: (settings: PseudowireSettings) => string;
  /** Absent: a frame is on the wire as the device has it. Called when the session is configured. */
  readonly createRewriter?: (
    settings: PseudowireSettings,
    counters: PseudowireCounters,
  ) => FrameRewriter;
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
