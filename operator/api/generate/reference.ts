/** Generates docs/api.md from the schemas of crds/ and rules.ts. */
import { type Definition, readDefinitions, type Schema, shownOptions } from "../crds.ts";
import { fieldAtFault, RULES, type Rules, SPELLING, SPELLING_MATTERS } from "../rules.ts";

export const API_REFERENCE = new URL("../../../docs/api.md", import.meta.url);

const RULES_CHECKED_BY =
  "Rules between fields. The API server (1.25 or later), the controller, and an agent with a folder check them:";

/** Checked in schema.ts: a CEL rule on the name would block the removal of finalizers from existing objects. */
const NAME =
  "- `metadata.name`: at most 63 lower-case letters, digits and dashes. The API server accepts longer names; the controller and the agent reject them.";

const BETWEEN_OBJECTS =
  "The controller or the agent checks whether a session fits its tunnel (for example `peerSessionId` and `remoteEndId` against the tunnel's `control.mode`), because a rule of the API server sees one object only.";

/** Returns the text of docs/api.md. */
export function generateReference(): string {
  const head =
    "# API reference\n\nYou get here: every field of L2tpTunnel and L2tpSession, and the rules between fields. Generated from [crds/](../crds) and\n[rules.ts](../operator/api/rules.ts) by `make generate`. How the objects work together: [Concepts](concepts.md). What a status says:\n[Conditions and Events](conditions.md).\n";
  return [head, ...readDefinitions().map(describeKind)].join("\n");
}

function describeKind({ kind, group, version, scope, plural, shortNames, schema }: Definition) {
  const where = scope === "Cluster" ? "without a namespace" : "in a namespace";
  const names = [...shortNames, plural].map((name) => `\`${name}\``).join(", ");
  return [
    `## ${kind}\n`,
    `${schema.description} \`${group}/${version}\`, ${where}; for kubectl ${names}, and \`l2tp\` for all kinds.\n`,
    table("spec", schema.properties?.spec ?? {}),
    `${RULES_CHECKED_BY}\n`,
    `${[...(scope === "Cluster" ? [] : [NAME]), ...rulesOf(RULES[kind] ?? {})].join("\n")}\n`,
    ...(scope === "Cluster" ? [] : [`${BETWEEN_OBJECTS}\n`]),
    table("status", schema.properties?.status ?? {}),
  ].join("\n");
}

function table(part: string, schema: Schema): string {
  return [`| ${part} | meaning | values |\n|---|---|---|`, ...rowsOf(part, schema), ""].join("\n");
}

function rowsOf(path: string, schema: Schema): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const inner = `${path}.${name}`;
    const isNeeded = schema.required?.includes(name) && path.startsWith("spec");
    const shown = inner.replace(/^(spec|status)\./, "");
    const row = `| \`${shown}\`${isNeeded ? " (required)" : ""} | ${field.description ?? ""} | ${values(field)} |`;
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
    shownOptions(options ?? [])
      .map((option) => `\`${option}\``)
      .join(", "),
    minimum === undefined ? "" : `${minimum} to ${maximum}`,
    anyOf === undefined ? "" : "IPv4 or IPv6",
    type === "boolean" ? "`true`, `false`" : "",
    rest.additionalProperties === undefined ? "" : "label: value",
    typeof preset === "object" || preset === undefined ? "" : `default \`${preset}\``,
  ];
  return parts.filter((part) => part !== "").join("; ");
}

/** Returns a line for each rule. */
function rulesOf(rules: Rules): string[] {
  return Object.values(rules).map((rule) => {
    const paths = rule.at.map((at) => `\`${fieldAtFault(rule, at)}\``).join(", ");
    const comparesSpelling = SPELLING_MATTERS.test(rule.cel);
    const notes = [
      comparesSpelling ? SPELLING : undefined,
      rule.onlyInCel,
      rule.onlyInTypeScript,
    ].filter((note) => note);
    return [`- ${paths}: ${rule.reason}; ${rule.remedy}.`, ...notes].join(" ");
  });
}
