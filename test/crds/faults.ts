/** Compares the faults that an API server finds in an object with those of our validation. */
import type { FieldProblem } from "../../model/problem.ts";
import { fieldAtFault, RULES, validationOf } from "../../operator/api/rules.ts";
import { manifestOf, problemsOf, type Sample } from "../../operator/api/testdata.ts";
import { SESSIONS, TUNNELS } from "../../operator/api/types.ts";
import { KubeError } from "../../operator/kube/errors.ts";
import { collectionPath } from "../../operator/kube/object.ts";
import type { CrdServer } from "../harness/crd-server.ts";

/** Returns the API server's error message; null: it accepts the object. Dry run: nothing is created. */
export async function rejectionOf(server: CrdServer, sample: Sample): Promise<string | null> {
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

/** Returns "spec.local: interface: …" for each violated rule in the API server's message. */
export function faultsOf(message: string | null): Set<string> {
  const [, list = ""] = /is invalid: \[?(.*?)\]?$/s.exec(message ?? "") ?? [];
  const found = list.split(/, (?=spec[.:])/).map((text) => {
    // The API server shows a value that is not an object.
    const [, at = ""] = /^(\S+): Invalid value: /.exec(text) ?? [];
    const known = messages.find((words) => text.endsWith(`: ${words}`));
    return known === undefined ? text : `${at}: ${known}`;
  });
  return new Set(found.filter((text) => text !== ""));
}

const messages = Object.values(RULES)
  .flatMap((rules) => Object.values(rules).map((rule) => validationOf(rule).message))
  .sort((a, b) => b.length - a.length);

/** Returns the same from our validation, without the faults that an API server cannot find. */
export function ownFaultsOf(sample: Sample): Set<string> {
  return new Set(problemsOf(sample).flatMap((problem) => asFault(sample, problem)));
}

function asFault({ kind }: Sample, { path, reason, remedy }: FieldProblem): string[] {
  const field = path.replaceAll(/\[\d+\]/g, "[]");
  const rule = Object.values(RULES[kind] ?? {}).find(
    (one) =>
      one.reason === reason &&
      one.remedy === remedy &&
      one.at.some((at) => fieldAtFault(one, at) === field),
  );
  if (rule === undefined) throw new Error(`${path}: ${reason}: no rule has this reason`);
  if (rule.onlyInTypeScript !== undefined) return [];
  const isWhole = rule.each === undefined && rule.field === undefined;
  return [`${isWhole ? path : rule.at[0]}: ${validationOf(rule).message}`];
}
