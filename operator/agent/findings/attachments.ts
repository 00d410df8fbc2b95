/** Findings about pods without their session, and about unreadable attachment files. */
import type { AttachmentRow, Finding } from "../../agent-protocol.ts";

/** Reports an attachment whose session is not on the node. */
export function aboutAttachment({ pod, ifname, session, state }: AttachmentRow): Finding[] {
  if (state !== "session missing") return [];
  const object = `attachment ${pod} (${ifname})`;
  const finding = `L2tpSession ${session} is not on this node`;
  return [{ severity: "error", object, finding, remedy: "recreate it, or delete the pod" }];
}

/** Reports attachment files that cannot be read. */
export function aboutUnreadable(
  files: readonly { readonly path: string; readonly reason: string }[],
): Finding[] {
  return files.map(({ path, reason }) => ({
    severity: "error",
    object: `attachment ${path}`,
    finding: `${reason}; sessions without a known pod are kept unchanged`,
    remedy: "delete the pod of the file; if the pod does not exist, delete the file",
  }));
}
