/** Names and addresses of links that stay the same as long as what they are for. */
import { createHash } from "node:crypto";
import { formatMac } from "../../net/mac.ts";
import { type Attachment, attachmentKey } from "./attachment.ts";

/** The end on the node of a pod's veth pair. */
export function portName(attachment: Pick<Attachment, "containerId" | "ifname">): string {
  return `l2v${digest(attachmentKey(attachment)).toString("hex").slice(0, 12)}`;
}

/** A MAC address that stays the same for the same thing: unicast, locally administered. */
export function stableMac(...parts: readonly string[]): string {
  const bytes = digest(parts.join("\n")).subarray(0, 6);
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02;
  return formatMac(bytes);
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
