/** Names and MAC addresses of links, which are stable for their session or pod. */
import { createHash } from "node:crypto";
import { formatMac } from "../../net/mac.ts";
import { type Attachment, attachmentKey } from "./attachment.ts";

/** Returns the name of the node's end of a pod's veth pair. */
export function portName(attachment: Pick<Attachment, "containerId" | "ifname">): string {
  return `l2v${digest(attachmentKey(attachment)).toString("hex").slice(0, 12)}`;
}

/** Returns a hash of the parts as a MAC address: unicast, locally administered. */
export function stableMac(...parts: readonly string[]): string {
  const bytes = digest(parts.join("\n")).subarray(0, 6);
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return formatMac(bytes);
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
