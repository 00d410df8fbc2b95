/** What is wrong by the objects alone, before anybody looks at a frame: for the doctor. Pure. */
import { describeFault } from "../../model/problem.ts";
import {
  type AttachmentRow,
  type ConditionRow,
  type Finding,
  faultOf,
  type SessionRow,
  type TunnelRow,
} from "../agent-protocol.ts";
import type { Intake, Rejection } from "../resolve/intake.ts";
import type { UnreadableFile } from "./attachments.ts";

export interface DoctorInput {
  readonly nodeName: string;
  /** For messages; null: the objects are in a cluster, which shows each node its own. */
  readonly folder: string | null;
  readonly intake: Intake;
  readonly rejections: readonly Rejection[];
  readonly tunnels: readonly TunnelRow[];
  readonly sessions: readonly SessionRow[];
  readonly attachments: readonly AttachmentRow[];
}

export function objectFindings(input: DoctorInput): Finding[] {
  const objects = [
    ...input.tunnels.flatMap(({ name, conditions }) =>
      aboutObject(`L2tpTunnel ${name}`, conditions),
    ),
    ...input.sessions.flatMap(({ name, conditions }) =>
      aboutObject(`L2tpSession ${name}`, conditions),
    ),
  ];
  // What has conditions of its own speaks for itself.
  const spoken = new Set(objects.map(({ object }) => object));
  const silent = input.rejections.filter(({ kind, key }) => !spoken.has(`${kind} ${key}`));
  return [
    ...aboutNode(input),
    ...silent.flatMap(aboutRejection),
    ...objects,
    ...input.attachments.flatMap(aboutAttachment),
  ];
}

/** Why this node may have nothing to do, although its administrator thinks otherwise. */
export function aboutNode({
  nodeName,
  folder,
  intake,
  rejections,
}: Pick<DoctorInput, "nodeName" | "folder" | "intake" | "rejections">): Finding[] {
  if (folder === null) return [];
  const object = `node ${nodeName}`;
  const names = Array.from(intake.tunnels.values(), ({ spec }) => spec.nodeName);
  if (names.length === 0 && intake.sessions.size === 0 && rejections.length === 0) {
    const finding = `no manifests in ${folder}`;
    const remedy = "put YAML files there; its subfolders are not read";
    return [{ severity: "warning", object, finding, remedy }];
  }
  if (names.length === 0 || names.includes(nodeName)) return [];
  const others = [...new Set(names)].sort();
  const shown = others.length > 3 ? `${others.slice(0, 3).join(", ")}, …` : others.join(", ");
  const finding = `none of the ${names.length} tunnels in ${folder} is of this node; they are of ${shown}`;
  const remedy = "compare the agent's --node with spec.nodeName";
  return [{ severity: "warning", object, finding, remedy }];
}

function aboutRejection({ origin, problems }: Rejection): Finding[] {
  return problems.map((problem) => ({
    severity: "error" as const,
    object: origin,
    finding: describeFault(problem),
    remedy: problem.remedy,
  }));
}

function aboutObject(object: string, conditions: readonly ConditionRow[]): Finding[] {
  const bad = faultOf(conditions);
  if (bad === undefined) return [];
  const finding = `${bad.reason}: ${bad.message}`;
  const remedy =
    bad.status === "Unknown"
      ? "correct the files that are named above"
      : "correct what the message names; the agent then tries again by itself";
  return [{ severity: "error", object, finding, remedy }];
}

function aboutAttachment({ pod, ifname, session, state }: AttachmentRow): Finding[] {
  if (state !== "session missing") return [];
  const object = `attachment ${pod} (${ifname})`;
  const finding = `L2tpSession ${session} is not on this node`;
  return [{ severity: "error", object, finding, remedy: "create it again, or delete the pod" }];
}

/** Reports the attachments that cannot be read. */
export function aboutUnreadable(files: readonly UnreadableFile[]): Finding[] {
  return files.map(({ path, reason }) => ({
    severity: "error",
    object: `attachment ${path}`,
    finding: `${reason}; the sessions that it may be about are left as they are`,
    remedy: "delete its pod; if the pod is gone, delete the file",
  }));
}
