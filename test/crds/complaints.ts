/** Complaints of an API server about an object, beside those of our own validation. */
import type { FieldProblem } from "../../model/problem.ts";
import { fieldAtFault, RULES, validationOf } from "../../operator/api/rules.ts";
import { manifestOf, problemsOf, type Sample } from "../../operator/api/testdata.ts";
import { SESSIONS, TUNNELS } from "../../operator/api/types.ts";
import { KubeError } from "../../operator/kube/errors.ts";
import { collectionPath } from "../../operator/kube/object.ts";
import type { CrdServer } from "../harness/crd-server.ts";

/** The API server's message; null: it takes the object. Nothing is created. */
export async function verdict(server: CrdServer, sample: Sample): Promise<string | null> {
  const isTunnel = sample.kind === "L2tpTunnel";
  const path = isTunnel ? collectionPath(TUNNELS) : collectionPath(SESSIONS, "default");
  const query = { dryRun: "All", fieldValidation: "Strict" };
  try {
    await server.client.request({ method: "POST", path, query, body: manifestOf(sample, "x") });
    return null;
  } catch (error) {
    if (error instanceof KubeError && error.status === 422) return error.message;
    if (error instanceof KubeError && /unknown field/.test(error.message)) return error.message;
    throw error;
  }
}

/** "spec.local: interface: …" for each rule that the API server found broken. */
export function complaintsOf(message: string | null): Set<string> {
  const [, list = ""] = /is invalid: \[?(.*?)\]?$/s.exec(message ?? "") ?? [];
  const found = list.split(/, (?=spec[.:])/).map((text) => {
    // The value is shown where it is not an object.
    const [, at = ""] = /^(\S+): Invalid value: /.exec(text) ?? [];
    const known = messages.find((words) => text.endsWith(`: ${words}`));
    return known === undefined ? text : `${at}: ${known}`;
  });
  return new Set(found.filter((text) => text !== ""));
}

const messages = Object.values(RULES)
  .flatMap((rules) => Object.values(rules).map((rule) => validationOf(rule).message))
  .sort((a, b) => b.length - a.length);

/** The same from our own validation. */
export function ownComplaintsOf(sample: Sample): Set<string> {
  return new Set(problemsOf(sample).map((problem) => asComplaint(sample, problem)));
}

function asComplaint({ kind }: Sample, { path, reason, remedy }: FieldProblem): string {
  const field = path.replaceAll(/\[\d+\]/g, "[]");
  const rule = Object.values(RULES[kind] ?? {}).find(
    (one) =>
      one.reason === reason &&
      one.remedy === remedy &&
      one.at.some((at) => fieldAtFault(one, at) === field),
  );
  if (rule === undefined) throw new Error(`${path}: ${reason}: of no rule`);
  const isWhole = rule.each === undefined && rule.field === undefined;
  return `${isWhole ? path : rule.at[0]}: ${validationOf(rule).message}`;
}
