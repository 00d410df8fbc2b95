/**
 * tc filters that rewrite the VLAN tags of a link's frames: flower matches the frames, act_vlan or act_gact changes
 * them (include/uapi/linux/pkt_cls.h, include/uapi/linux/tc_act/). The filters exist until the link is deleted, or
 * moves to another namespace.
 */
import { ETHERTYPE } from "../../net/headers.ts";
import { type Message, MessageWriter, NetlinkAttributes, NLM_F_ACK } from "./message.ts";
import {
  type NetlinkSocket,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
} from "./socket.ts";
import {
  addClsact,
  PARENT_EGRESS,
  PARENT_INGRESS,
  RTM_DELTFILTER,
  RTM_GETTFILTER,
  RTM_NEWTFILTER,
  TCA_KIND,
  TCA_OPTIONS,
  TCMSG_BYTES,
  tcmsg,
} from "./traffic-control.ts";

const TCA_FLOWER_ACT = 3;
const TCA_FLOWER_KEY_ETH_TYPE = 8;
const TCA_FLOWER_KEY_VLAN_ID = 23;
const TCA_FLOWER_KEY_VLAN_ETH_TYPE = 25;
const TCA_ACT_KIND = 1;
const TCA_ACT_OPTIONS = 2;
const TCA_ACT_STATS = 4;
const TCA_ACT_COOKIE = 6;
const TCA_STATS_BASIC = 1;
/** The offset in struct gnet_stats_basic, after the bytes. */
const PACKETS_AT = 8;
/** struct tc_gact: index, capab, action, refcnt, bindcnt. */
const TCA_GACT_PARMS = 2;
const GACT_BYTES = 20;
/** struct tc_vlan: the fields of struct tc_gact, and v_action. */
const TCA_VLAN_PARMS = 2;
const TCA_VLAN_PUSH_VLAN_ID = 3;
const VLAN_BYTES = 24;
/** struct tc_mirred: the fields of struct tc_gact, then eaction and ifindex. */
const TCA_MIRRED_PARMS = 2;
const MIRRED_BYTES = 28;
const MIRRED_ACTION_AT = 20;
const MIRRED_INDEX_AT = 24;
const TCA_EGRESS_REDIR = 1;
const ACTION_AT = 8;
const VLAN_ACTION_AT = 20;
const VLAN_ACTION = { pop: 1, push: 2, modify: 3 } as const;
const TC_ACT_OK = 0;
const TC_ACT_SHOT = 2;
/** Continues with the next action. */
const TC_ACT_PIPE = 3;
const TC_ACT_STOLEN = 4;
const ETH_P_ALL = 0x0003;
const HANDLE = 1;
/** The priority of the first filter. A pod may have its own filters before it. */
const FIRST_PRIORITY = 100;

/** Bytes of the cookie that identifies a filter. */
export const FILTER_COOKIE_BYTES = 16;

const TAG_ETHERTYPE = { "802.1Q": ETHERTYPE.vlan, "802.1ad": ETHERTYPE.serviceVlan } as const;

/** A filter. An omitted field matches all frames. */
export interface TagFilter {
  /** The type of the outer tag. */
  readonly tag?: keyof typeof TAG_ETHERTYPE;
  readonly vlanId?: number;
  /** The type of the second tag. */
  readonly innerTag?: keyof typeof TAG_ETHERTYPE;
  readonly action:
    | { readonly do: "pass" | "drop" | "pop" }
    | { readonly do: "push" | "modify"; readonly vlanId: number };
  /** The index of the link to which frames are redirected, unless the action drops them. */
  readonly redirectTo?: number;
  /** FILTER_COOKIE_BYTES. */
  readonly cookie: Uint8Array;
}

export type Direction = "ingress" | "egress";
const PARENT = { ingress: PARENT_INGRESS, egress: PARENT_EGRESS } as const;

/** An existing filter. */
export interface FoundFilter {
  /** Its index in the list that was set. */
  readonly place: number;
  readonly cookie: Buffer;
  /** The number of frames that it has matched. */
  readonly packets: number;
}

/**
 * Sets the filters of a link. The first that matches a frame decides. Filters whose place and cookie are unchanged are
 * kept. They are added from the last to the first, so that frames are dropped, not passed unchanged, until all are set.
 * @returns true if a filter changed @throws NetlinkError ENOENT if the kernel lacks a module
 */
export function setTagFilters(
  socket: NetlinkSocket,
  ifindex: number,
  direction: Direction,
  filters: readonly TagFilter[],
): boolean {
  addClsact(socket, ifindex);
  const found = new Map(
    listTagFilters(socket, ifindex, direction).map((filter) => [filter.place, filter]),
  );
  let hasChanged = false;
  for (const [place, filter] of [...filters.entries()].reverse()) {
    const known = found.get(place);
    found.delete(place);
    if (known !== undefined && Buffer.compare(known.cookie, filter.cookie) === 0) continue;
    if (known !== undefined) deleteFilter(socket, ifindex, direction, place);
    const message = newFilter(ifindex, direction, place, filter);
    socket.request({ message, name: `put filter on link ${ifindex}` });
    hasChanged = true;
  }
  for (const place of found.keys()) deleteFilter(socket, ifindex, direction, place);
  return hasChanged || found.size > 0;
}

/** Returns the existing filters of those that were set. */
export function listTagFilters(
  socket: NetlinkSocket,
  ifindex: number,
  direction: Direction,
): FoundFilter[] {
  const message = new MessageWriter(
    RTM_GETTFILTER,
    NLM_F_REQUEST | NLM_F_DUMP,
    tcmsg(ifindex, 0, PARENT[direction], 0),
  );
  const name = `list filters of link ${ifindex}`;
  return socket.dump(() => ({ message, name })).flatMap(parseFilter);
}

function parseFilter({ payload }: Message): FoundFilter[] {
  const place = (payload.readUInt32LE(16) >>> 16) - FIRST_PRIORITY;
  const attributes = new NetlinkAttributes(payload, TCMSG_BYTES);
  const action = attributes.nested(TCA_OPTIONS)?.nested(TCA_FLOWER_ACT)?.nested(1);
  if (place < 0 || attributes.string(TCA_KIND) !== "flower" || action === undefined) return [];
  const basic = action.nested(TCA_ACT_STATS)?.bytes(TCA_STATS_BASIC);
  return [
    {
      place,
      cookie: action.bytes(TCA_ACT_COOKIE) ?? Buffer.alloc(0),
      packets: basic?.readUInt32LE(PACKETS_AT) ?? 0,
    },
  ];
}

const swap16 = (value: number): number => ((value & 0xff) << 8) | (value >> 8);

/** Returns priority and protocol; the protocol is in network order. */
function placeInfo(place: number, protocol: number): number {
  return (((FIRST_PRIORITY + place) << 16) | swap16(protocol)) >>> 0;
}

function newFilter(
  ifindex: number,
  direction: Direction,
  place: number,
  filter: TagFilter,
): MessageWriter {
  const { tag, vlanId, innerTag } = filter;
  const protocol = tag === undefined ? ETH_P_ALL : TAG_ETHERTYPE[tag];
  const flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
  const header = tcmsg(ifindex, HANDLE, PARENT[direction], placeInfo(place, protocol));
  return new MessageWriter(RTM_NEWTFILTER, flags, header)
    .string(TCA_KIND, "flower")
    .nested(TCA_OPTIONS, (options) => {
      if (tag !== undefined) options.u16(TCA_FLOWER_KEY_ETH_TYPE, swap16(protocol));
      if (vlanId !== undefined) options.u16(TCA_FLOWER_KEY_VLAN_ID, vlanId);
      if (innerTag !== undefined) {
        options.u16(TCA_FLOWER_KEY_VLAN_ETH_TYPE, swap16(TAG_ETHERTYPE[innerTag]));
      }
      options.nested(TCA_FLOWER_ACT, (actions) => {
        actions.nested(1, (action) => writeAction(action, filter));
        const { redirectTo } = filter;
        if (redirectTo === undefined || filter.action.do === "drop") return;
        actions.nested(2, (action) => writeRedirect(action, redirectTo));
      });
    });
}

function writeRedirect(writer: MessageWriter, ifindex: number): void {
  const parameters = Buffer.alloc(MIRRED_BYTES);
  parameters.writeInt32LE(TC_ACT_STOLEN, ACTION_AT);
  parameters.writeInt32LE(TCA_EGRESS_REDIR, MIRRED_ACTION_AT);
  parameters.writeInt32LE(ifindex, MIRRED_INDEX_AT);
  writer
    .string(TCA_ACT_KIND, "mirred")
    .nested(TCA_ACT_OPTIONS, (options) => options.bytes(TCA_MIRRED_PARMS, parameters));
}

function writeAction(writer: MessageWriter, { action, cookie, redirectTo }: TagFilter): void {
  const passed = redirectTo === undefined ? TC_ACT_OK : TC_ACT_PIPE;
  if (action.do === "pass" || action.do === "drop") {
    const parameters = Buffer.alloc(GACT_BYTES);
    parameters.writeInt32LE(action.do === "pass" ? passed : TC_ACT_SHOT, ACTION_AT);
    writer
      .string(TCA_ACT_KIND, "gact")
      .nested(TCA_ACT_OPTIONS, (options) => options.bytes(TCA_GACT_PARMS, parameters));
  } else {
    const parameters = Buffer.alloc(VLAN_BYTES);
    parameters.writeInt32LE(passed, ACTION_AT);
    parameters.writeInt32LE(VLAN_ACTION[action.do], VLAN_ACTION_AT);
    writer.string(TCA_ACT_KIND, "vlan").nested(TCA_ACT_OPTIONS, (options) => {
      options.bytes(TCA_VLAN_PARMS, parameters);
      if ("vlanId" in action) options.u16(TCA_VLAN_PUSH_VLAN_ID, action.vlanId);
    });
  }
  writer.bytes(TCA_ACT_COOKIE, cookie);
}

/** Deletes all filters of the priority (handle 0), of any protocol. */
function deleteFilter(
  socket: NetlinkSocket,
  ifindex: number,
  direction: Direction,
  place: number,
): void {
  const header = tcmsg(ifindex, 0, PARENT[direction], placeInfo(place, 0));
  const message = new MessageWriter(RTM_DELTFILTER, NLM_F_REQUEST | NLM_F_ACK, header);
  socket.request({ message, name: `delete filter of link ${ifindex}` });
}
