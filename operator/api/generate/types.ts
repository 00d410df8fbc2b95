/** Generates the types of specs and statuses from the schemas of crds/. */
import { compile, type JSONSchema } from "json-schema-to-typescript";
import { readDefinitions } from "../crds.ts";

export const TYPES = new URL("../generated.ts", import.meta.url);

/** Returns the text of generated.ts. */
export async function generateTypes(): Promise<string> {
  const chunks = ["/** Generated from crds/ by `make generate`. */\n"];
  for (const { kind, schema } of readDefinitions()) {
    for (const part of ["spec", "status"] as const) {
      const name = `${kind.replace(/^L2tp/, "")}${part === "spec" ? "Spec" : "Status"}`;
      const types = await compile(closed({ ...schema.properties?.[part] } as JSONSchema), name, {
        bannerComment: "",
        // Bounds of lists would become unions of tuples.
        ignoreMinAndMaxItems: true,
        style: { printWidth: 100, tabWidth: 2 },
      });
      chunks.push(types);
    }
  }
  return chunks.join("\n");
}

/** Returns the schema without unknown fields, which a structural schema does not permit either. */
function closed(schema: JSONSchema): JSONSchema {
  // Formats and patterns have no TypeScript type.
  const { anyOf: _, properties, items, ...rest } = schema;
  // A union of 64 numbers would be hard to read. The schema checks the range.
  if (rest.enum?.some((value) => typeof value === "number")) {
    const words = rest.enum.filter((value) => typeof value === "string");
    const { description } = rest;
    const tsType = ["number", ...words.map((word) => JSON.stringify(word))].join(" | ");
    return { ...(description && { description }), tsType };
  }
  if (items !== undefined) return { ...rest, items: closed(items as JSONSchema) };
  if (properties === undefined) return rest;
  const inner = Object.entries(properties).map(([name, value]) => [name, closed(value)]);
  return { ...rest, properties: Object.fromEntries(inner), additionalProperties: false };
}
