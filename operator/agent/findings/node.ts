/** Findings about a manifest folder without tunnels for this node. */
import type { Finding } from "../../agent-protocol.ts";
import type { Intake, Rejection } from "../../resolve/intake.ts";

/** The objects that the agent has read. */
export interface NodeInput {
  readonly nodeName: string;
  /** The manifest folder; null: the objects are in a cluster, where an agent sees only its node's objects. */
  readonly folder: string | null;
  readonly intake: Intake;
  readonly rejections: readonly Rejection[];
}

/** Reports a folder whose manifests are not for this node. A cluster hands each node its objects alone. */
export function aboutNode({ nodeName, folder, intake, rejections }: NodeInput): Finding[] {
  if (folder === null) return [];
  const object = `node ${nodeName}`;
  const names = Array.from(intake.tunnels.values(), ({ spec }) => spec.nodeName);
  if (names.length === 0 && intake.sessions.size === 0 && rejections.length === 0) {
    const finding = `no manifests in ${folder}`;
    const remedy = "put YAML files there; subfolders are not read";
    return [{ severity: "warning", object, finding, remedy }];
  }
  if (names.length === 0 || names.includes(nodeName)) return [];
  const others = [...new Set(names)].sort();
  const shown = others.length > 3 ? `${others.slice(0, 3).join(", ")}, …` : others.join(", ");
  const finding = `${folder} has no tunnels for this node (found: ${shown})`;
  const remedy = "compare the agent's --node with spec.nodeName";
  return [{ severity: "warning", object, finding, remedy }];
}
