/** Generates rule-checks.ts, the CEL of rules.ts in TypeScript, so that nodes need no CEL interpreter. */
import { readDefinitions, type Schema } from "../crds.ts";
import { RULES, type Rule, type Rules } from "../rules.ts";
import { translate } from "./cel.ts";
import { formatted } from "./format.ts";
import { schemaAt } from "./paths.ts";

export const CHECKS = new URL("../rule-checks.ts", import.meta.url);

const IMPORTS = [
  ["{ canonicalAddress }", "../../net/ip.ts"],
  ["{ durationMs }", "./duration.ts"],
  ["type { SessionSpec, TunnelSpec }", "./generated.ts"],
].map(([names, file]) => `import ${names} from "${file}";\n`);
const HEAD = `/** Generated from rules.ts by \`make generate\`: true if a value meets a rule. */\n${IMPORTS.join("")}`;

/** Returns the text of rule-checks.ts. */
export function generateChecks(): string {
  const tables = readDefinitions().map(({ kind, schema }) =>
    table(kind, RULES[kind] ?? {}, schema),
  );
  return formatted([HEAD, ...tables].join("\n"), "rule-checks.ts");
}

function table(kind: string, rules: Rules, schema: Schema): string {
  const name = kind.replace(/^L2tp/, "");
  const rows = Object.entries(rules)
    .filter(([, { onlyInCel }]) => onlyInCel === undefined)
    .map(([key, rule]) => `${key}: ${check(rule, schema, `${name}Spec`)},`);
  return `export const ${name.toUpperCase()}_CHECKS = {\n${rows.join("\n")}\n};\n`;
}

function check({ at: [path], each, cel }: Rule, schema: Schema, spec: string): string {
  const scope = schemaAt(schema, path);
  const self = { code: "self", schema: scope };
  const selfType = typeOf(scope, path, spec);
  if (each === undefined) return `(self: ${selfType}) => ${translate(cel, { self })}`;
  const items = schemaAt(scope, `${each}[]`);
  const one = { code: "one", schema: items };
  const oneType = `NonNullable<${selfType}["${each}"]>[number]`;
  return `(self: ${selfType}, one: ${oneType}) => ${translate(cel, { self, one })}`;
}

/** Returns the TypeScript type of a field. @param path from the object, such as "spec.control" */
function typeOf({ type }: Schema, path: string, spec: string): string {
  if (type === "string") return "string";
  const [, ...fields] = path.split(".");
  return fields.reduce((outer, field) => `NonNullable<${outer}["${field}"]>`, spec);
}
