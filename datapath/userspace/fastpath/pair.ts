/**
 * The device of a session on the fast path: a veth pair. One end is in the pod (or in the bridge). The other end is on
 * the node, with the programs, beside a TAP device for the frames that the process must forward.
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

/** The node's end accepts frames of any size. The pod's end has the session's MTU. */
const VETH_MTU = 65_535;
const NAME_DIGITS = 10;

export interface Pair {
  readonly tap: Tap;
  readonly tapIndex: number;
  /** The index of the veth pair's end on the node. */
  readonly nodeEnd: number;
  /** The index of its other end, in the pod's namespace, or on the node if the end is in a bridge. */
  readonly podEnd: number;
}

export interface PairOptions {
  /** True: create a pair if it is missing. */
  readonly isWanted: boolean;
  readonly offload: DeviceOffload;
  /**
   * A program that drops all frames: without our programs, and so without this process, a pod's frames must not reach
   * the node's network stack.
   */
  readonly guard: number;
}

/** Returns the names of the session's links on the node, which pods cannot change. */
function namesOf(key: string): { nodeEnd: string; tap: string } {
  const digits = createHash("sha256").update(key).digest("hex").slice(0, NAME_DIGITS);
  return { nodeEnd: `l2tpf${digits}`, tap: `l2tpt${digits}` };
}

/**
 * Returns the session's pair with one end at `place`. Creates it if the place is empty and `isWanted`.
 * @param node a socket in the node's namespace
 * @returns null: the place has another device, or is empty and no pair is wanted
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
    // The old pair's other end is in another place, but the session's device belongs here.
    if (nodeEnd !== undefined) deleteLinkNow(node, nodeEnd.index);
    const peer = { name: place.name, netns: place.netns ?? OWN_NETNS };
    createVeth(node, { name: names.nodeEnd, mtu: VETH_MTU }, peer);
    nodeEnd = findLink(node, names.nodeEnd);
  }
  if (nodeEnd === undefined || !isPair(nodeEnd, end)) return null;
  try {
    // Also for a pair that a process left without the guard.
    setIngressProgram(node, nodeEnd.index, guard, "l2tp_guard");
  } catch (error) {
    deleteLinkNow(node, nodeEnd.index);
    throw error;
  }
  if ((end?.alias ?? "") === "") label(place, pseudowireLabel(key, sessionId));
  const ends = { nodeEnd: nodeEnd.index, podEnd: nodeEnd.peer };
  return { ...ends, ...openTapOf(node, nodeEnd, key, names.tap, offload) };
}

/** @param end the link that was at the pod's place; undefined: the pair was just created */
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
    if (link === undefined)
      throw new Error(`TAP device ${name} was deleted while it was being opened`);
    const alias = `fast path of ${key}`;
    for (const index of [nodeEnd.index, link.index]) {
      // Neither link may send packets of its own to pod or peer.
      setLink(node, index, { alias, addressGeneration: false });
    }
    return { tap, tapIndex: link.index };
  } catch (error) {
    closeFd(tap.fd);
    throw error;
  }
}

/** Deletes the session's pair at the place. False: the place has no such pair. */
export function removeAt(place: DevicePlace, key: string): boolean {
  const node = new NetlinkSocket(NETLINK_ROUTE, null);
  try {
    const nodeEnd = findLink(node, namesOf(key).nodeEnd);
    const end = findAt(place);
    // The pod can change the label, but not the name of the end on the node.
    if (nodeEnd === undefined || end === undefined || !isPair(nodeEnd, end)) return false;
    deleteLinkNow(node, nodeEnd.index);
    return true;
  } finally {
    node.close();
  }
}

/** Sets the label before any other program sees the link: the agent recognizes the link by it. */
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

/** Sets the carrier of the pod's end: it follows whether the node's end is up. */
export function setPairCarrier(node: NetlinkSocket, { nodeEnd }: Pair, on: boolean): void {
  try {
    setLink(node, nodeEnd, { up: on });
  } catch (error) {
    // The pod was deleted, and its end with it.
    if (!isErrno(error, "ENODEV")) throw error;
  }
}
