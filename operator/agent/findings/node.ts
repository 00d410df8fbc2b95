/** Why the node may have nothing to do, although its administrator thinks otherwise. */
import type { Finding } from "../../agent-protocol.ts";
import type { Intake, Rejection } from "../../resolve/intake.ts";

/** The objects that the node was given. */
export interface NodeInput {
  readonly nodeName: string;
  /** Messages name it; null: the objects are in a cluster, which shows each node its own. */
  readonly folder: string | null;
  readonly intake: Intake;
  readonly rejections: readonly Rejection[];
}

export function aboutNode({ nodeName, folder, intake, rejections }: NodeInput): Finding[] {
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
