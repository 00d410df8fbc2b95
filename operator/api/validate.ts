/**
 * Checks the rules of rules.ts, and reports every field at fault at once, with its remedy. schema.ts has checked the
 * form of the objects before.
 */
import type { FieldProblem } from "../../model/problem.ts";
import { ETHERNET_HEADER_BYTES } from "../../net/headers.ts";
import { SESSION_CHECKS, TUNNEL_CHECKS } from "./rule-checks.ts";
import { type Rule, type Rules, SESSION_RULES, TUNNEL_RULES } from "./rules.ts";
import type { SessionSpec, TunnelSpec } from "./types.ts";

export const MAX_ID = 0xffff_ffff;
/** The smallest MTU of IPv4 (RFC 791), and the largest Ethernet payload that a 16-bit IP length permits. */
export const MIN_MTU = 68;
export const MAX_MTU = 65_535 - ETHERNET_HEADER_BYTES;

/** Returns the problems of a tunnel's spec; empty: valid. */
export function validateTunnel(spec: TunnelSpec): readonly FieldProblem[] {
  return problemsOf(tunnelRules, spec);
}

/** Returns the problems of a session's spec; empty: valid. */
export function validateSession(spec: SessionSpec): readonly FieldProblem[] {
  return problemsOf(sessionRules, spec);
}

/** Returns the tunnel's control mode. */
export function controlMode({ control }: { readonly control?: TunnelSpec["control"] | undefined }) {
  return control === undefined ? "Static" : (control.mode ?? "Managed");
}

/** A rule with its parsed paths and its check. */
interface Checked {
  readonly rule: Rule;
  /** Steps from the spec to each value that has the rule. */
  readonly at: readonly (readonly Step[])[];
  readonly field: readonly Step[];
  readonly isMet: (self: unknown, one?: unknown) => boolean;
}

/** A field, or each item of a list. */
interface Step {
  readonly name: string;
  readonly isList: boolean;
}

const tunnelRules = prepare(TUNNEL_RULES, TUNNEL_CHECKS);
const sessionRules = prepare(SESSION_RULES, SESSION_CHECKS);

function prepare(rules: Rules, checks: Readonly<Record<string, unknown>>): readonly Checked[] {
  return Object.entries(checks).map(([name, check]) => {
    const rule = rules[name];
    if (rule === undefined) throw new Error(`no rule ${name}; run make generate`);
    const at = rule.at.map((path) => stepsOf(path).slice(1));
    return { rule, at, field: stepsOf(rule.field ?? ""), isMet: check as Checked["isMet"] };
  });
}

function stepsOf(path: string): Step[] {
  if (path === "") return [];
  return path.split(".").map((step) => {
    const isList = step.endsWith("[]");
    return { name: isList ? step.slice(0, -2) : step, isList };
  });
}

/** Problems by spec: a spec never changes in place, and each reconcile checks all of them. */
const problemsBySpec = new WeakMap<object, readonly FieldProblem[]>();

function problemsOf(rules: readonly Checked[], spec: object): readonly FieldProblem[] {
  const known = problemsBySpec.get(spec);
  if (known !== undefined) return known;
  // Almost all objects are valid, so paths are only computed for faults.
  const problems = rules
    .filter((checked) => !isMetBy(spec, checked))
    .flatMap((one) => locate(spec, one));
  problemsBySpec.set(spec, problems);
  return problems;
}

function isMetBy(spec: object, { rule: { each }, at, isMet }: Checked): boolean {
  const check = (self: unknown): boolean =>
    each === undefined ? isMet(self) : itemsOf(self, each).every((one) => isMet(self, one));
  return at.every((steps) => holdsAt(spec, steps, 0, check));
}

/** True if all values that are set pass the check. */
function holdsAt(
  from: unknown,
  steps: readonly Step[],
  next: number,
  check: (value: unknown) => boolean,
): boolean {
  if (from === undefined) return true;
  const step = steps[next];
  if (step === undefined) return check(from);
  if (!step.isList) return holdsAt(fieldOf(from, step.name), steps, next + 1, check);
  return itemsOf(from, step.name).every((item) => holdsAt(item, steps, next + 1, check));
}

/** A value in an object, and its path. */
interface Located {
  readonly path: string;
  readonly value: unknown;
}

function locate(spec: object, { rule, at, field, isMet }: Checked): FieldProblem[] {
  const { each, reason, remedy } = rule;
  const item = each === undefined ? [] : [{ name: each, isList: true }];
  const selves = at.flatMap((steps) => follow({ path: "spec", value: spec }, steps));
  return selves
    .flatMap((self) => follow(self, item).filter(({ value }) => !isMet(self.value, value)))
    .map((where) => {
      const { path, value } = field.reduce(into, where);
      return { path, value: shown(path, value), reason, remedy };
    });
}

/** Returns the values that are set. */
function follow(from: Located, steps: readonly Step[]): Located[] {
  return steps
    .reduce<Located[]>((found, step) => found.flatMap((outer) => inside(outer, step)), [from])
    .filter(({ value }) => value !== undefined);
}

function inside(outer: Located, step: Step): Located[] {
  if (!step.isList) return [into(outer, step)];
  const { path } = into(outer, step);
  return itemsOf(outer.value, step.name).map((value, index) => ({
    path: `${path}[${index}]`,
    value,
  }));
}

function into({ path, value }: Located, { name }: Step): Located {
  return { path: `${path}.${name}`, value: fieldOf(value, name) };
}

function itemsOf(value: unknown, name: string): readonly unknown[] {
  return (fieldOf(value, name) ?? []) as readonly unknown[];
}

function fieldOf(value: unknown, name: string): unknown {
  return (value as Readonly<Record<string, unknown>> | undefined)?.[name];
}

/** Returns the value for a message; undefined for cookies, which are secrets, and for objects. */
function shown(path: string, value: unknown): unknown {
  return typeof value === "object" || path.includes("cookies") ? undefined : value;
}
