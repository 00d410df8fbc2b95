/**
 * The device of a session on the fast path: a veth pair. One end is the pod's (or the bridge's); the other one
 * stays on the node, where the programs are, beside a TAP device of the process for what they leave to it.
 */
import { createHash } from "node:crypto";
import { isErrno } from "../../../linux/errno.ts";
import { closeFd } from "../../../linux/fd.ts";
import {
  createVeth,
  deleteLinkNow,
  findLink,
  type LinkInfo,
  setLink,
} from "../../../linux/netlink/link.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../../linux/netlink/socket.ts";
import { setIngressProgram } from "../../../linux/netlink/traffic-control.ts";
import { OWN_NETNS } from "../../../linux/netns.ts";
import { type DeviceOffload, openTap, type Tap } from "../../../linux/tun.ts";
import { pseudowireLabel } from "../../../model/link-label.ts";
import type { Session } from "../../../model/model.ts";
import type { DevicePlace } from "../../datapath.ts";

/** Nothing is too large for the node's end: the pod's has the session's MTU. */
const VETH_MTU = 65_535;
const NAME_DIGITS = 10;

export interface Pair {
  readonly tap: Tap;
  readonly tapIndex: number;
  /** The index of the veth pair's end on the node. */
  readonly nodeEnd: number;
  /** The index of its other end, in the namespace of the pod, or of the node where a bridge has it. */
  readonly podEnd: number;
}

export interface PairOptions {
  /** Whether one is made where there is none. */
  readonly isWanted: boolean;
  readonly offload: DeviceOffload;
  /**
   * A program that drops all: without ours, and so without this process, a pod's frames must not come upon the
   * node's own stack.
   */
  readonly guard: number;
}

/** The names of the session's links on the node: nobody else has a say in them. */
function namesOf(key: string): { nodeEnd: string; tap: string } {
  const digits = createHash("sha256").update(key).digest("hex").slice(0, NAME_DIGITS);
  return { nodeEnd: `l2tpf${digits}`, tap: `l2tpt${digits}` };
}

/**
 * The pair whose one end stands at the place; made where nothing does, if that is wanted.
 * @param node of the node's namespace
 * @returns null: something else stands there, or nothing does and none is wanted
 * @throws SystemError
 */
export function openPair(
  node: NetlinkSocket,
  { key, sessionId }: Session,
  place: DevicePlace,
  { isWanted, offload, guard }: PairOptions,
): Pair | null {
  const names = namesOf(key);
  const end = findAt(place);
  let nodeEnd = findLink(node, names.nodeEnd);
  if (end === undefined) {
    if (!isWanted) return null;
    // Of a pair whose other end stands elsewhere: the session's device is to be here.
    if (nodeEnd !== undefined) deleteLinkNow(node, nodeEnd.index);
    const peer = { name: place.name, netns: place.netns ?? OWN_NETNS };
    createVeth(node, { name: names.nodeEnd, mtu: VETH_MTU }, peer);
    nodeEnd = findLink(node, names.nodeEnd);
  }
  if (nodeEnd === undefined || !isPair(nodeEnd, end)) return null;
  try {
    // Also of one that a process left behind before it had come so far.
    setIngressProgram(node, nodeEnd.index, guard, "l2tp_guard");
  } catch (error) {
    deleteLinkNow(node, nodeEnd.index);
    throw error;
  }
  if ((end?.alias ?? "") === "") label(place, pseudowireLabel(key, sessionId));
  const ends = { nodeEnd: nodeEnd.index, podEnd: nodeEnd.peer };
  return { ...ends, ...openTapOf(node, nodeEnd, key, names.tap, offload) };
}

/** @param end what was at the pod's place; undefined: it was made just now */
function isPair(nodeEnd: LinkInfo, end: LinkInfo | undefined): boolean {
  return end === undefined || (end.kind === "veth" && nodeEnd.peer === end.index);
}

function openTapOf(
  node: NetlinkSocket,
  nodeEnd: LinkInfo,
  key: string,
  name: string,
  offload: DeviceOffload,
): Pick<Pair, "tap" | "tapIndex"> {
  const tap = openTap(null, name, offload, false);
  try {
    const link = findLink(node, name);
    if (link === undefined) throw new Error(`TAP device ${name} is gone again`);
    const alias = `fast path of ${key}`;
    for (const index of [nodeEnd.index, link.index]) {
      // Neither has anything to say of its own to pod or peer.
      setLink(node, index, { alias, addressGeneration: false });
    }
    return { tap, tapIndex: link.index };
  } catch (error) {
    closeFd(tap.fd);
    throw error;
  }
}

/** What is left of the session's pair at the place is deleted. False: there was nothing. */
export function removeAt(place: DevicePlace, key: string): boolean {
  const node = new NetlinkSocket(NETLINK_ROUTE, null);
  try {
    const nodeEnd = findLink(node, namesOf(key).nodeEnd);
    const end = findAt(place);
    // The label is the pod's to write; the other end on the node is not.
    if (nodeEnd === undefined || end === undefined || !isPair(nodeEnd, end)) return false;
    deleteLinkNow(node, nodeEnd.index);
    return true;
  } finally {
    node.close();
  }
}

/** Before anybody else sees it: else nobody would know it again. */
function label(place: DevicePlace, alias: string): void {
  at(place, (socket, end) => {
    if (end !== undefined) setLink(socket, end.index, { alias });
  });
}

const findAt = (place: DevicePlace) => at(place, (_socket, end) => end);

function at<T>(
  { netns, name }: DevicePlace,
  use: (socket: NetlinkSocket, end: LinkInfo | undefined) => T,
): T {
  const socket = new NetlinkSocket(NETLINK_ROUTE, netns);
  try {
    return use(socket, findLink(socket, name));
  } finally {
    socket.close();
  }
}

/** Whether the pod's end has a carrier: as long as the node's is up. */
export function setPairCarrier(node: NetlinkSocket, { nodeEnd }: Pair, on: boolean): void {
  try {
    setLink(node, nodeEnd, { up: on });
  } catch (error) {
    // The pod has gone, and its end with it.
    if (!isErrno(error, "ENODEV")) throw error;
  }
}
