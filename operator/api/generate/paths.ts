/** Paths of rules into schemas, such as "spec.backup[].address". */
import type { Schema } from "../crds.ts";

/** Returns the schema at the path. @throws Error if the schema has no such field */
export function schemaAt(schema: Schema, path: string): Schema {
  return path.split(".").reduce((outer, step) => {
    const field = outer.properties?.[step.replace("[]", "")];
    const inner = step.endsWith("[]") ? field?.items : field;
    if (inner === undefined) throw new Error(`${path}: no such field`);
    return inner;
  }, schema);
}
