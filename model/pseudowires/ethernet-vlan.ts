/**
 * Ethernet frames of one VLAN, each with its 802.1Q tag (RFC 4719). The tag is the outermost tag of the frame, and
 * service-delimiting. Pods see it only if vlan.pod is Tagged (docs/adr/0041-vlan-pseudowires.md).
 */
import {
  ETHERNET_HEADER_BYTES,
  ETHERTYPE,
  ETHERTYPE_OFFSET,
  VLAN_ID_MASK,
  VLAN_TAG_BYTES,
} from "../../net/headers.ts";
import { looksMisaligned } from "./ethernet.ts";
import {
  DROPPED,
  type FrameMemory,
  type FrameRewriter,
  type PseudowireCounters,
  type PseudowireSettings,
  type PseudowireType,
  TAP,
  type TagAction,
  type TagRule,
  type TagRules,
  type VlanSettings,
} from "./pseudowire.ts";

export const ethernetVlan = {
  name: "EthernetVLAN",
  number: 4,
  device: TAP,
  wireHeaderBytes: ETHERNET_HEADER_BYTES + VLAN_TAG_BYTES,
  minFrameBytes: ETHERNET_HEADER_BYTES + VLAN_TAG_BYTES,
  // The kernel has no such type: it uses Ethernet, with tags rewritten by tc.
  kernel: { number: 5, letter: "q", tagRules },
  hasOffloads: true,
  hasFastPath: false,
  settings: ({ vlan }) =>
    vlan === undefined
      ? {}
      : { vlan: { id: vlan.id, peerId: vlan.peerId ?? vlan.id, pod: vlan.pod ?? "Untagged" } },
  describe: ({ vlan }) => {
    if (vlan === undefined) return "";
    const { id, peerId, pod } = vlan;
    return `${id === peerId ? id : `${id}/${peerId}`}${pod === "Tagged" ? " tagged" : ""}`;
  },
  createRewriter: ({ vlan }, counters) => {
    if (vlan === undefined) return DROPS_ALL;
    return vlan.pod === "Tagged" ? translator(vlan, counters) : pusher(vlan, counters);
  },
  looksMisaligned,
} as const satisfies PseudowireType;

/** The rewriter of a session without spec.vlan, which validation rejects. */
const DROPS_ALL: FrameRewriter = { toWire: () => DROPPED, fromWire: () => DROPPED };

/** Offset of priority, drop eligibility and VLAN ID, after the tag's EtherType. */
const CONTROL_OFFSET = ETHERTYPE_OFFSET + 2;
const INNER_TYPE_OFFSET = ETHERTYPE_OFFSET + VLAN_TAG_BYTES;
const TAGGED_BYTES = ETHERNET_HEADER_BYTES + VLAN_TAG_BYTES;

/** Returns the rewriter for a pod whose frames do not have the session's tag. */
function pusher({ id, peerId }: VlanSettings, counters: PseudowireCounters): FrameRewriter {
  return {
    toWire({ view }: FrameMemory, at: number, end: number): number {
      if (end - at < ETHERNET_HEADER_BYTES) return DROPPED;
      if (isTag(view.getUint16(at + ETHERTYPE_OFFSET))) {
        if (end - at < TAGGED_BYTES) return DROPPED;
        if (isPriorityTagged(view, at)) {
          setVlanId(view, at, peerId);
          return at;
        }
        counters.txInnerTagged++;
      }
      return push(view, at, peerId);
    },
    fromWire({ view }: FrameMemory, at: number, _end: number, frames: number): number {
      return isOurs(view, at, id, peerId, counters, frames) ? pop(view, at) : DROPPED;
    },
  };
}

/** Returns the rewriter for a pod whose frames have the session's tag. */
function translator({ id, peerId }: VlanSettings, counters: PseudowireCounters): FrameRewriter {
  return {
    toWire({ view }: FrameMemory, at: number, end: number): number {
      if (end - at < TAGGED_BYTES) return DROPPED;
      const vlanId = vlanIdOf(view, at);
      if (vlanId !== id) {
        if (vlanId === UNTAGGED) counters.txUntagged++;
        else counters.txOtherVlan++;
        return DROPPED;
      }
      if (isTag(view.getUint16(at + INNER_TYPE_OFFSET))) counters.txInnerTagged++;
      if (peerId !== id) setVlanId(view, at, peerId);
      return at;
    },
    fromWire({ view }: FrameMemory, at: number, _end: number, frames: number): number {
      if (!isOurs(view, at, id, peerId, counters, frames)) return DROPPED;
      if (peerId !== id) setVlanId(view, at, id);
      return at;
    },
  };
}

/** True for a received frame of the session's VLAN: with the peer's ID, or with ours if the peer translates it. */
function isOurs(
  view: DataView,
  at: number,
  id: number,
  peerId: number,
  counters: PseudowireCounters,
  frames: number,
): boolean {
  const vlanId = vlanIdOf(view, at);
  if (vlanId !== peerId && vlanId !== id) {
    if (vlanId === UNTAGGED) counters.rxUntagged += frames;
    else counters.rxOtherVlan += frames;
    return false;
  }
  if (isTag(view.getUint16(at + INNER_TYPE_OFFSET))) counters.rxInnerTagged += frames;
  return true;
}

/** No tag, or a priority tag without a VLAN (IEEE 802.1Q, 6.9). */
const UNTAGGED = 0;
/** A service tag (802.1ad) belongs to another VLAN, whatever its ID. */
const SERVICE_TAGGED = -1;

function vlanIdOf(view: DataView, at: number): number {
  const type = view.getUint16(at + ETHERTYPE_OFFSET);
  if (type === ETHERTYPE.vlan) return view.getUint16(at + CONTROL_OFFSET) & VLAN_ID_MASK;
  return type === ETHERTYPE.serviceVlan ? SERVICE_TAGGED : UNTAGGED;
}

const isTag = (type: number): boolean => type === ETHERTYPE.vlan || type === ETHERTYPE.serviceVlan;

const isPriorityTagged = (view: DataView, at: number): boolean =>
  view.getUint16(at + ETHERTYPE_OFFSET) === ETHERTYPE.vlan &&
  (view.getUint16(at + CONTROL_OFFSET) & VLAN_ID_MASK) === 0;

function setVlanId(view: DataView, at: number, vlanId: number): void {
  const rest = view.getUint16(at + CONTROL_OFFSET) & ~VLAN_ID_MASK;
  view.setUint16(at + CONTROL_OFFSET, rest | vlanId);
}

/** Moves the addresses forward, and puts the tag behind them. */
function push(view: DataView, at: number, vlanId: number): number {
  const to = at - VLAN_TAG_BYTES;
  moveAddresses(view, at, to);
  view.setUint16(to + ETHERTYPE_OFFSET, ETHERTYPE.vlan);
  view.setUint16(to + CONTROL_OFFSET, vlanId);
  return to;
}

/** Moves the addresses over the tag. */
function pop(view: DataView, at: number): number {
  const to = at + VLAN_TAG_BYTES;
  moveAddresses(view, at, to);
  return to;
}

/** Moves both Ethernet addresses; source and destination can overlap. */
function moveAddresses(view: DataView, from: number, to: number): void {
  const head = view.getInt32(from);
  const middle = view.getInt32(from + 4);
  const tail = view.getInt32(from + 8);
  view.setInt32(to, head);
  view.setInt32(to + 4, middle);
  view.setInt32(to + 8, tail);
}

const PASS = { do: "pass" } as const;
const DROP = { do: "drop" } as const;

/** Returns the tc rules with the effect of the rewriters. */
function tagRules({ vlan }: PseudowireSettings): TagRules {
  if (vlan === undefined) return { fromWire: [{ action: DROP }], toWire: [{ action: DROP }] };
  const { id, peerId, pod } = vlan;
  const isTagged = pod === "Tagged";
  const translate = (from: number, to: number): TagAction =>
    from === to ? PASS : { do: "modify", vlanId: to };
  const received = (vlanId: number) =>
    isTagged ? translate(vlanId, id) : ({ do: "pop" } as const);
  const vlanIds = [...new Set([peerId, id])];
  return {
    fromWire: [
      ...vlanIds.flatMap((vlanId) => rulesOf(vlanId, received(vlanId), "rxInnerTagged")),
      ...drops("rxUntagged", "rxOtherVlan"),
    ],
    toWire: isTagged
      ? [
          ...rulesOf(id, translate(id, peerId), "txInnerTagged"),
          ...drops("txUntagged", "txOtherVlan"),
        ]
      : pushes(peerId),
  };
}

/** Returns the rules for frames of a VLAN. Frames with a second tag are counted. */
function rulesOf(
  vlanId: number,
  action: TagAction,
  counter: "rxInnerTagged" | "txInnerTagged",
): TagRule[] {
  const rule = { tag: "802.1Q", vlanId, action } as const;
  return [
    { ...rule, innerTag: "802.1Q", counter },
    { ...rule, innerTag: "802.1ad", counter },
    rule,
  ];
}

/** Returns the rules that drop all other frames. */
function drops(
  untagged: "rxUntagged" | "txUntagged",
  otherVlan: "rxOtherVlan" | "txOtherVlan",
): TagRule[] {
  return [
    { tag: "802.1Q", vlanId: 0, action: DROP, counter: untagged },
    { tag: "802.1Q", action: DROP, counter: otherVlan },
    { tag: "802.1ad", action: DROP, counter: otherVlan },
    { action: DROP, counter: untagged },
  ];
}

function pushes(vlanId: number): TagRule[] {
  const push = { do: "push", vlanId } as const;
  return [
    { tag: "802.1Q", vlanId: 0, action: { do: "modify", vlanId } },
    { tag: "802.1Q", action: push, counter: "txInnerTagged" },
    { tag: "802.1ad", action: push, counter: "txInnerTagged" },
    { action: push },
  ];
}
