/** Paths into schemas, as rules have them: "spec.backup[].address". */
import type { Schema } from "../crds.ts";

/** @throws Error if the schema has no such field */
export function schemaAt(schema: Schema, path: string): Schema {
  return path.split(".").reduce((outer, step) => {
    const field = outer.properties?.[step.replace("[]", "")];
    const inner = step.endsWith("[]") ? field?.items : field;
    if (inner === undefined) throw new Error(`${path}: no such field`);
    return inner;
  }, schema);
}
