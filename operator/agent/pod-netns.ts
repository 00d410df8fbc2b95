/** Identifies network namespaces of pods, because paths and inodes are reused. */
import { readFileSync, statSync } from "node:fs";
import { findLink, type LinkInfo } from "../../linux/netlink/link.ts";
import { NETLINK_ROUTE, NetlinkSocket } from "../../linux/netlink/socket.ts";
import { inNetns, OWN_NETNS } from "../../linux/netns.ts";
import type { Attachment } from "../../model/attachments/attachment.ts";
import { AgentError } from "../agent-error.ts";

const BOOT_ID = "/proc/sys/kernel/random/boot_id";

let boot: string | undefined;
/** Returns the kernel's random ID of this boot. */
export function bootId(): string {
  boot ??= readFileSync(BOOT_ID, "utf8").trim();
  return boot;
}

/**
 * Returns the identity of the namespace at the path, which differs from all earlier ones there; null if the path does
 * not exist. Inode and change time identify a namespace that is bound to the path. The kernel creates the inodes of
 * /proc when they are read, so their change time is not used: a process pins such a namespace.
 */
export function netnsIdentity(path: string): string | null {
  try {
    const { ino, ctimeNs } = statSync(path, { bigint: true });
    return path.startsWith("/proc/") ? `${bootId()} ${ino}` : `${bootId()} ${ino} ${ctimeNs}`;
  } catch {
    return null;
  }
}

/** True if the attachment's network namespace still exists. */
export function isAlive({ netns, netnsIdentity: known }: Attachment): boolean {
  return netnsIdentity(netns) === known;
}

/** Returns the identity of a pod's namespace. @throws AgentError if the path is not that of a pod's namespace */
export function requirePodNetns(path: string): string {
  const refuse = (what: string) => {
    const remedy = "the runtime must pass the path of the pod's network namespace";
    return new AgentError("NoNetns", `CNI_NETNS ${path} is ${what}`, remedy);
  };
  try {
    // Only entering distinguishes a network namespace from other files and other namespaces.
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

/** Returns a link in a pod; undefined if link or namespace does not exist. */
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
