/** Pods whose sessions are gone, and records of attachments that cannot be read. */
import type { AttachmentRow, Finding } from "../../agent-protocol.ts";

export function aboutAttachment({ pod, ifname, session, state }: AttachmentRow): Finding[] {
  if (state !== "session missing") return [];
  const object = `attachment ${pod} (${ifname})`;
  const finding = `L2tpSession ${session} is not on this node`;
  return [{ severity: "error", object, finding, remedy: "create it again, or delete the pod" }];
}

export function aboutUnreadable(
  files: readonly { readonly path: string; readonly reason: string }[],
): Finding[] {
  return files.map(({ path, reason }) => ({
    severity: "error",
    object: `attachment ${path}`,
    finding: `${reason}; the sessions that it may be about are left as they are`,
    remedy: "delete its pod; if the pod is gone, delete the file",
  }));
}
