/**
 * Translates the part of CEL that rules.ts uses to TypeScript. The schema types each field: a rule about an unknown
 * field fails here, and a rule about an impossible value fails in the compiler.
 */
import { type ASTNode, parse } from "@marcbachmann/cel-js";
import type { Schema } from "../crds.ts";
import { durationMs } from "../duration.ts";

/** A translated value. */
interface Value {
  readonly code: string;
  readonly schema?: Schema;
  /** True if the TypeScript type includes undefined. */
  readonly isOptional?: boolean;
}

type Variables = Readonly<Record<string, Value>>;

/** Returns the expression in TypeScript. @throws Error if CEL of the expression is not supported */
export function translate(cel: string, variables: Variables): string {
  return codeOf(parse(cel).ast, variables);
}

const OPERATORS: Readonly<Record<string, string>> = {
  "==": "===",
  "!=": "!==",
  "||": "||",
  "&&": "&&",
  "<": "<",
  "<=": "<=",
  ">": ">",
  ">=": ">=",
};

function codeOf(node: ASTNode, variables: Variables): string {
  return evaluated(node, variables).code;
}

function evaluated(node: ASTNode, variables: Variables): Value {
  const inner = (child: ASTNode) => codeOf(child, variables);
  switch (node.op) {
    case "value":
      return { code: literal(node.args) };
    case "id":
      return known(variables[node.args], node.args);
    case ".":
      return fieldOf(evaluated(node.args[0], variables), node.args[1]);
    case "!_":
      return { code: negated(node.args, variables) };
    case "?:": {
      const [condition, yes, no] = node.args.map(inner);
      return { code: `((${condition}) ? (${yes}) : (${no}))` };
    }
    case "call":
      return { code: call(node.args[0], node.args[1], variables) };
    case "rcall":
      return { code: method(node.args[0], node.args[1], node.args[2], variables) };
    default: {
      const operator = known(OPERATORS[node.op], node.op);
      const [left, right] = (node.args as [ASTNode, ASTNode]).map(inner);
      return { code: `(${left} ${operator} ${right})` };
    }
  }
}

function known<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw new Error(`CEL: ${name} is not translated`);
  return value;
}

function literal(value: unknown): string {
  return typeof value === "bigint" ? String(value) : JSON.stringify(value);
}

/** Returns a field with its default. An object's default is in its fields. */
function fieldOf(base: Value, name: string): Value {
  const schema = base.schema?.properties?.[name];
  if (schema === undefined) throw new Error(`CEL: ${base.code} has no field ${name}`);
  const code = `${base.code}${base.isOptional ? "?." : "."}${name}`;
  const { default: preset } = schema;
  if (preset !== undefined && typeof preset !== "object") {
    return { code: `(${code} ?? ${JSON.stringify(preset)})`, schema };
  }
  const isRequired = base.schema?.required?.includes(name) ?? false;
  return { code, schema, isOptional: base.isOptional === true || !isRequired };
}

/** Returns the negation; `!has()` becomes `=== undefined`. */
function negated(node: ASTNode, variables: Variables): string {
  const code = codeOf(node, variables);
  const isAbsence = node.op === "call" && node.args[0] === "has";
  return isAbsence ? code.replace(/ !== undefined\)$/, " === undefined)") : `!(${code})`;
}

function call(name: string, args: readonly ASTNode[], variables: Variables): string {
  const argument = known(args[0], name);
  const value = evaluated(argument, variables);
  switch (name) {
    case "has":
      if (value.schema?.default !== undefined)
        throw new Error(`CEL: ${value.code} is always there`);
      return `(${value.code} !== undefined)`;
    case "duration":
      return argument.op === "value"
        ? String(durationMs(String(argument.args)))
        : `durationMs(${value.code})`;
    case "address":
      return `canonicalAddress(${value.code})`;
    default:
      throw new Error(`CEL: ${name}() is not translated`);
  }
}

function method(
  name: string,
  receiver: ASTNode,
  args: readonly ASTNode[],
  variables: Variables,
): string {
  const { code, schema, isOptional } = evaluated(receiver, variables);
  const [first] = args;
  switch (name) {
    case "contains":
      return `${code}${isOptional ? "?." : "."}includes(${codeOf(known(first, name), variables)})`;
    case "matches":
      // A constant in the common syntax of RE2 and JavaScript.
      if (first?.op !== "value") throw new Error("CEL: matches() requires a constant");
      return `/${String(first.args).replaceAll("/", "\\/")}/.test(${code})`;
    case "exists_one": {
      const [item, condition] = args;
      if (item?.op !== "id" || condition === undefined) throw new Error(`CEL: ${name}()`);
      const one = { code: item.args, ...(schema?.items && { schema: schema.items }) };
      const matches = codeOf(condition, { ...variables, [item.args]: one });
      return `((${code} ?? []).filter((${item.args}) => ${matches}).length === 1)`;
    }
    default:
      throw new Error(`CEL: ${name}() is not translated`);
  }
}
