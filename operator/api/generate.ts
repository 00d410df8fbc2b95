/** The types of specs and statuses, from the schemas of crds/. */
import { readFileSync, writeFileSync } from "node:fs";
import { compile, type JSONSchema } from "json-schema-to-typescript";
import { parse } from "yaml";

export const GENERATED = new URL("generated.ts", import.meta.url);

const SOURCES = [
  { file: "l2tptunnels.yaml", parts: { spec: "TunnelSpec", status: "TunnelStatus" } },
  { file: "l2tpsessions.yaml", parts: { spec: "SessionSpec", status: "SessionStatus" } },
] as const;

interface Crd {
  spec: { versions: { schema: { openAPIV3Schema: { properties: Record<string, JSONSchema> } } }[] };
}

/** What generated.ts is to hold. */
export async function generateTypes(): Promise<string> {
  const chunks = ["/** Generated from crds/ by `make generate`. */\n"];
  for (const { file, parts } of SOURCES) {
    const text = readFileSync(new URL(`../../crds/${file}`, import.meta.url), "utf8");
    const schema = (parse(text) as Crd).spec.versions[0]?.schema.openAPIV3Schema;
    for (const [part, name] of Object.entries(parts)) {
      const types = await compile(closed({ ...schema?.properties[part] }), name, {
        bannerComment: "",
        // The lists' bounds would become unions of tuples.
        ignoreMinAndMaxItems: true,
        style: { printWidth: 100, tabWidth: 2 },
      });
      chunks.push(types);
    }
  }
  return chunks.join("\n");
}

/** A structural schema means: these fields, and no others. */
function closed(schema: JSONSchema): JSONSchema {
  // Formats and patterns are no types.
  const { anyOf: _, properties, items, ...rest } = schema;
  if (items !== undefined) return { ...rest, items: closed(items as JSONSchema) };
  if (properties === undefined) return rest;
  const inner = Object.entries(properties).map(([name, value]) => [name, closed(value)]);
  return { ...rest, properties: Object.fromEntries(inner), additionalProperties: false };
}

if (import.meta.main) writeFileSync(GENERATED, await generateTypes());
