/** Network namespaces of pods: whether one is still what it was, for paths and inodes are used again. */
import { readFileSync, statSync } from "node:fs";
import { findLink, type LinkInfo } from "../../linux/netlink/link.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../linux/netlink/socket.ts";
import { inNetns, OWN_NETNS } from "../../linux/netns.ts";
import type { Attachment } from "../../model/attachments/attachment.ts";
import { AgentError } from "../agent-error.ts";

const BOOT_ID = "/proc/sys/kernel/random/boot_id";

let boot: string | undefined;
/** The kernel draws another one at each boot. */
export function bootId(): string {
  boot ??= readFileSync(BOOT_ID, "utf8").trim();
  return boot;
}

/**
 * What tells a namespace from all others that were ever at the path; null where none is there. A
 * namespace that is bound to the path has a time of birth besides its inode; one in /proc, whose inode
 * is made anew for every look, has a process that pins it.
 */
export function netnsIdentity(path: string): string | null {
  try {
    const { ino, ctimeNs } = statSync(path, { bigint: true });
    return path.startsWith("/proc/") ? `${bootId()} ${ino}` : `${bootId()} ${ino} ${ctimeNs}`;
  } catch {
    return null;
  }
}

export function isAlive({ netns, netnsIdentity: known }: Attachment): boolean {
  return netnsIdentity(netns) === known;
}

/** Its identity. @throws AgentError where the path leads to no network namespace, or to the node's own */
export function requirePodNetns(path: string): string {
  const refuse = (what: string) => {
    const remedy = "the runtime must pass the path of the pod's network namespace";
    return new AgentError("NoNetns", `CNI_NETNS ${path} is ${what}`, remedy);
  };
  try {
    // Only entering it tells it from other files, and from namespaces of other kinds.
    inNetns(path, () => {});
  } catch {
    throw refuse("not a network namespace");
  }
  const identity = netnsIdentity(path);
  if (identity === null) throw refuse("not a network namespace");
  if (statSync(path).ino === statSync(OWN_NETNS).ino) {
    throw refuse("the node's own network namespace");
  }
  return identity;
}

/** A link in a pod; undefined, too, where the namespace has just died. */
export function findLinkIn(netns: string, name: string): LinkInfo | undefined {
  try {
    const socket = new NetlinkSocket(NETLINK_ROUTE, netns);
    try {
      return findLink(socket, name);
    } finally {
      socket.close();
    }
  } catch {
    return undefined;
  }
}
