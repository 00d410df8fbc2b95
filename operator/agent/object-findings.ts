/** The doctor's findings from objects and conditions, without counters and captures. Pure. */
import { describeFault } from "../../model/problem.ts";
import type { AttachmentRow, Finding, SessionRow, TunnelRow } from "../agent-protocol.ts";
import type { Rejection } from "../resolve/intake.ts";
import { aboutAttachment } from "./findings/attachments.ts";
import { aboutConditions } from "./findings/conditions.ts";
import { aboutNode, type NodeInput } from "./findings/node.ts";

export interface DoctorInput extends NodeInput {
  readonly tunnels: readonly TunnelRow[];
  readonly sessions: readonly SessionRow[];
  readonly attachments: readonly AttachmentRow[];
}

/** Returns findings about objects whose conditions are not True, and about rejected documents. */
export function objectFindings(input: DoctorInput): Finding[] {
  const objects = [
    ...input.tunnels.flatMap(({ name, conditions }) =>
      aboutConditions(`L2tpTunnel ${name}`, conditions),
    ),
    ...input.sessions.flatMap(({ name, conditions }) =>
      aboutConditions(`L2tpSession ${name}`, conditions),
    ),
  ];
  // The conditions of an object already report its rejection.
  const spoken = new Set(objects.map(({ object }) => object));
  const silent = input.rejections.filter(({ kind, key }) => !spoken.has(`${kind} ${key}`));
  return [
    ...aboutNode(input),
    ...silent.flatMap(aboutRejection),
    ...objects,
    ...input.attachments.flatMap(aboutAttachment),
  ];
}

function aboutRejection({ origin, problems }: Rejection): Finding[] {
  return problems.map((problem) => ({
    severity: "error" as const,
    object: origin,
    finding: describeFault(problem),
    remedy: problem.remedy,
  }));
}
