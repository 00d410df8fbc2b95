/**
 * Writes the x-kubernetes-validations of crds/ from rules.ts. The rest of the files is hand-written and not changed.
 */
import { readFileSync } from "node:fs";
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  type Pair,
  parseDocument,
  type YAMLMap,
} from "yaml";
import { CRD_FILES } from "../crds.ts";
import { RULES, type Rule, validationOf } from "../rules.ts";

const KEY = "x-kubernetes-validations";
const SCHEMA = ["spec", "versions", 0, "schema", "openAPIV3Schema"];

/** Returns the URL and the new text of each file in crds/, by name. */
export function generateValidations(): Map<string, { readonly url: URL; readonly text: string }> {
  return new Map(
    CRD_FILES.map((name) => {
      const url = new URL(`../../../crds/${name}`, import.meta.url);
      return [name, { url, text: withValidations(readFileSync(url, "utf8")) }];
    }),
  );
}

/** Returns the definition with the rules of its kind, and no other rules. */
export function withValidations(text: string): string {
  const document = parseDocument(text);
  const kind = String(document.getIn(["spec", "names", "kind"]));
  const inCel = Object.values(RULES[kind] ?? {}).filter(
    ({ onlyInTypeScript }) => onlyInTypeScript === undefined,
  );
  const rules = rulesByNode(document, inCel);
  const edits: Edit[] = [];
  for (const node of schemasIn(document)) edits.push(...editsOf(text, node, rules.get(node) ?? []));
  return edits
    .sort((a, b) => b.from - a.from)
    .reduce((edited, { from, to, text }) => edited.slice(0, from) + text + edited.slice(to), text);
}

interface Edit {
  readonly from: number;
  readonly to: number;
  readonly text: string;
}

/** Returns the rules by YAML node. Fields that share a part of the schema share the node. */
function rulesByNode(document: Document, rules: readonly Rule[]): Map<YAMLMap, Rule[]> {
  const byNode = new Map<YAMLMap, Rule[]>();
  for (const rule of rules) {
    const nodes = new Set(rule.at.map((path) => nodeAt(document, path)));
    for (const node of nodes) byNode.set(node, [...(byNode.get(node) ?? []), rule]);
  }
  return byNode;
}

function nodeAt(document: Document, path: string): YAMLMap {
  let node = document.getIn(SCHEMA);
  for (const step of path.split(".")) {
    const fields = step.endsWith("[]")
      ? ["properties", step.slice(0, -2), "items"]
      : ["properties", step];
    for (const field of fields)
      node = isMap(node) ? resolved(document, node.get(field, true)) : undefined;
  }
  if (!isMap(node)) throw new Error(`${path}: no such field`);
  return node;
}

function resolved(document: Document, node: unknown): unknown {
  return isAlias(node) ? node.resolve(document) : node;
}

/** Returns all maps below the schema. */
function schemasIn(document: Document): YAMLMap[] {
  const found: YAMLMap[] = [];
  const visit = (node: unknown): void => {
    if (!isMap(node)) return;
    found.push(node);
    for (const { value } of node.items) visit(value);
  };
  visit(document.getIn(SCHEMA));
  return found;
}

function editsOf(text: string, node: YAMLMap, rules: readonly Rule[]): Edit[] {
  const pair = pairOf(node, KEY);
  if (pair === undefined && rules.length === 0) return [];
  // Before the properties of an object, and at the end of other fields.
  const next = pairOf(node, "properties");
  const from = lineStart(text, pair ?? next) ?? endOf(text, node);
  const to = pair === undefined ? from : endOf(text, pair.value);
  const indent = " ".repeat(columnOf(text, node.items[0]));
  return [{ from, to, text: rules.length === 0 ? "" : block(rules, indent) }];
}

function block(rules: readonly Rule[], indent: string): string {
  const rows = rules
    .map(validationOf)
    .flatMap(({ rule, message }) => [
      `${indent}  - rule: ${JSON.stringify(rule)}\n`,
      `${indent}    message: ${JSON.stringify(message)}\n`,
    ]);
  return [`${indent}${KEY}:\n`, ...rows].join("");
}

function pairOf(node: YAMLMap, name: string): Pair | undefined {
  return node.items.find(({ key }) => isScalar(key) && key.value === name);
}

function positionOf(pair: Pair | undefined): number | undefined {
  return isScalar(pair?.key) ? pair.key.range?.[0] : undefined;
}

function columnOf(text: string, pair: Pair | undefined): number {
  const position = positionOf(pair) ?? 0;
  return position - (text.lastIndexOf("\n", position - 1) + 1);
}

function lineStart(text: string, pair: Pair | undefined): number | undefined {
  const position = positionOf(pair);
  return position === undefined ? undefined : text.lastIndexOf("\n", position - 1) + 1;
}

/** Returns the start of the line after a node. */
function endOf(text: string, node: unknown): number {
  const end = (node as YAMLMap).range?.[1];
  if (end === undefined) throw new Error("a YAML node has no position");
  return text[end - 1] === "\n" ? end : text.indexOf("\n", end) + 1;
}
