/** docs/api.md, from the schemas of crds/. */
import { type Definition, readDefinitions, type Schema } from "../crds.ts";

export const REFERENCE = new URL("../../../docs/api.md", import.meta.url);

/** What docs/api.md is to hold. */
export function generateReference(): string {
  const head =
    "# API reference\n\nGenerated from [crds/](../crds) by `make generate`. What the objects mean together: [concepts.md](concepts.md).\n";
  return [head, ...readDefinitions().map(describeKind)].join("\n");
}

function describeKind({ kind, group, version, scope, plural, shortNames, schema }: Definition) {
  const where = scope === "Cluster" ? "without a namespace" : "in a namespace";
  const names = [...shortNames, plural].map((name) => `\`${name}\``).join(", ");
  return [
    `## ${kind}\n`,
    `${schema.description} \`${group}/${version}\`, ${where}; for kubectl ${names}, and \`l2tp\` for all kinds.\n`,
    ...(["spec", "status"] as const).map((part) => table(part, schema.properties?.[part] ?? {})),
  ].join("\n");
}

function table(part: string, schema: Schema): string {
  const rows = rowsOf(part, schema);
  const rules = rulesOf(part, schema);
  return [
    `| ${part} | what | values |\n|---|---|---|`,
    ...rows,
    "",
    ...(rules.length === 0 ? [] : ["And:\n", ...rules, ""]),
  ].join("\n");
}

function rowsOf(path: string, schema: Schema): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const inner = `${path}.${name}`;
    const isNeeded = schema.required?.includes(name) && path.startsWith("spec");
    const shown = inner.replace(/^(spec|status)\./, "");
    const row = `| \`${shown}\`${isNeeded ? " (needed)" : ""} | ${field.description ?? ""} | ${values(field)} |`;
    const items = field.items?.properties === undefined ? [] : rowsOf(`${inner}[]`, field.items);
    return [row, ...rowsOf(inner, field), ...items];
  });
}

function values({
  type,
  enum: options,
  minimum,
  maximum,
  default: preset,
  anyOf,
  ...rest
}: Schema) {
  const parts = [
    options?.map((option) => `\`${option}\``).join(", ") ?? "",
    minimum === undefined ? "" : `${minimum} to ${maximum}`,
    anyOf === undefined ? "" : "IPv4 or IPv6",
    type === "boolean" ? "`true`, `false`" : "",
    rest.additionalProperties === undefined ? "" : "label: value",
    typeof preset === "object" || preset === undefined ? "" : `default \`${preset}\``,
  ];
  return parts.filter((part) => part !== "").join("; ");
}

/** What the API server checks besides, where it knows CEL; the controller does in any case. */
function rulesOf(path: string, schema: Schema): string[] {
  const own = (schema["x-kubernetes-validations"] ?? []).map(
    ({ message = "" }) => `- \`${path}\`: ${message}.`,
  );
  const fields = Object.entries(schema.properties ?? {});
  return [...own, ...fields.flatMap(([name, field]) => rulesOf(`${path}.${name}`, field))];
}
