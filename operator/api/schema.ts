/**
 * Checks objects against the schemas of crds/ as the API server does, and fills in defaults. Unknown fields are errors.
 */
import { Ajv, type ErrorObject, type ValidateFunction } from "ajv";
import type { FieldProblem } from "../../model/problem.ts";
import { parseAddress } from "../../net/ip.ts";
import { readDefinitions, shownOptions } from "./crds.ts";
import { API_VERSION, type L2tpObject } from "./types.ts";

type Json = Record<string, unknown>;

/** RFC 1123 subdomain and label, which Kubernetes requires of names. */
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;

const ajv = new Ajv({ allErrors: true, useDefaults: true, verbose: true, strict: false });
ajv.addFormat("int64", true);
ajv.addFormat("date-time", true);
ajv.addFormat("ipv4", (text) => parseAddress(text)?.length === 4);
ajv.addFormat("ipv6", (text) => parseAddress(text)?.length === 16);

interface Kind {
  readonly namespaced: boolean;
  /** Rejects unknown fields, which are misspelled ones. */
  readonly strict: ValidateFunction;
  /** Accepts unknown fields: an API server has checked the object, possibly with a newer definition. */
  readonly lenient: ValidateFunction;
}

const kinds: ReadonlyMap<string, Kind> = new Map(
  readDefinitions().map(({ kind, scope, schema }) => {
    const strict = ajv.compile(closed(schema as Json));
    const lenient = ajv.compile(schema as Json);
    return [kind, { namespaced: scope === "Namespaced", strict, lenient }];
  }),
);

/** Returns the schema with unknown fields as errors, which a structural schema of Kubernetes cannot express. */
function closed(schema: Json): Json {
  const properties = schema.properties as Record<string, Json> | undefined;
  if (properties === undefined) return schema;
  const inner = Object.entries(properties).map(([name, value]) => [name, closed(value)]);
  const open = schema["x-kubernetes-preserve-unknown-fields"] === true;
  return {
    ...schema,
    properties: Object.fromEntries(inner),
    ...(open ? {} : { additionalProperties: false }),
  };
}

type Checked = { readonly object: L2tpObject } | { readonly problems: readonly FieldProblem[] };

/** The known kinds, for messages. */
const KINDS = [...kinds.keys()].join(" or ");

/** True for the kinds of l2tp.dev. */
export function isKind(kind: string): boolean {
  return kinds.has(kind);
}

/** True if kind or API group of the document is one of l2tp.dev. */
export function isL2tpDocument(document: unknown): document is Json {
  if (typeof document !== "object" || document === null) return false;
  const { apiVersion, kind } = document as Json;
  return String(apiVersion).startsWith("l2tp.dev/") || kinds.has(String(kind));
}

/**
 * Returns the object with its defaults, or all faults in its form. Changes `document`.
 * @param isFromApi true if an API server has checked the object, possibly with a newer definition
 */
export function checkForm(document: Json, isFromApi = false): Checked {
  const { apiVersion, kind } = document;
  if (apiVersion !== API_VERSION) {
    return refuse("apiVersion", apiVersion, "unsupported version", `use ${API_VERSION}`);
  }
  const known = kinds.get(String(kind));
  if (known === undefined) {
    return refuse("kind", kind, "unknown kind", `use ${KINDS}`);
  }
  const problems = checkMetadata(document, known.namespaced);
  // The output of `kubectl get -o yaml` is a valid manifest, too.
  delete document.status;
  const validate = isFromApi ? known.lenient : known.strict;
  if (!validate(document)) {
    const errors = (validate.errors ?? []).filter(isOutermost);
    problems.push(...errors.map(describeError));
  }
  return problems.length > 0 ? { problems } : { object: document as unknown as L2tpObject };
}

function refuse(path: string, value: unknown, reason: string, remedy: string): Checked {
  return { problems: [{ path, value, reason, remedy }] };
}

function checkMetadata(document: Json, namespaced: boolean): FieldProblem[] {
  const metadata = (document.metadata ?? {}) as Json;
  const problems: FieldProblem[] = [];
  const { name, namespace } = metadata;
  const [pattern, length] = namespaced ? [LABEL, 63] : [SUBDOMAIN, 253];
  if (typeof name !== "string" || name.length > length || !pattern.test(name)) {
    problems.push({
      path: "metadata.name",
      value: name,
      reason: "invalid name",
      remedy: `use at most ${length} lower-case letters, digits and dashes`,
    });
  }
  if (!namespaced && namespace !== undefined) {
    const remedy = "omit it";
    const reason = "the kind has no namespace";
    problems.push({ path: "metadata.namespace", value: namespace, reason, remedy });
  }
  if (namespaced) {
    // kubectl has the same default.
    document.metadata = { ...metadata, namespace: namespace ?? "default" };
    if (typeof (namespace ?? "") !== "string" || !LABEL.test(String(namespace ?? "default"))) {
      const remedy = "use at most 63 lower-case letters, digits and dashes";
      problems.push({
        path: "metadata.namespace",
        value: namespace,
        reason: "invalid name",
        remedy,
      });
    }
  }
  return problems;
}

/** False for errors of single alternatives: only the failure of all alternatives is an error. */
const isOutermost = ({ schemaPath }: ErrorObject): boolean => !schemaPath.includes("/anyOf/");

function describeError(error: ErrorObject): FieldProblem {
  const base = error.instancePath.slice(1).replaceAll("/", ".");
  const join = (field: string) => (base === "" ? field : `${base}.${field}`);
  const { description } = (error.parentSchema ?? {}) as { description?: string };
  const [sentence = ""] = description?.split(/\.(?: |$)/) ?? [];
  const what = sentence === "" ? "" : ` (${sentence})`;
  switch (error.keyword) {
    case "additionalProperties": {
      const field = String(error.params.additionalProperty);
      const known = Object.keys((error.parentSchema?.properties ?? {}) as Json).join(", ");
      return {
        path: join(field),
        value: undefined,
        reason: "unknown field",
        remedy: `known fields: ${known}`,
      };
    }
    case "required":
      return {
        path: join(String(error.params.missingProperty)),
        value: undefined,
        reason: "missing",
        remedy: "set it",
      };
    case "enum": {
      const allowed = shownOptions(error.params.allowedValues as (string | number)[]);
      return problem(base, error, "unsupported value", `use one of ${allowed.join(", ")}`);
    }
    case "type": {
      const isNumberForText = error.params.type === "string" && typeof error.data === "number";
      const quotes = isNumberForText ? ", in quotes, or YAML reads a number" : "";
      const remedy = `use type ${error.params.type}${quotes}${what}`;
      return problem(base, error, "wrong type", remedy);
    }
    case "anyOf":
      return problem(base, error, "not an IP address", "use an IPv4 or IPv6 address");
    case "minimum":
    case "maximum": {
      const { minimum, maximum } = error.parentSchema as { minimum: number; maximum: number };
      const remedy = `use a whole number from ${minimum} to ${maximum}`;
      return problem(base, error, "out of range", remedy);
    }
    case "pattern":
      return problem(base, error, "invalid format", `correct it${what}`);
    default:
      return problem(base, error, String(error.message).replace("NOT", "not"), "correct it");
  }
}

function problem(path: string, error: ErrorObject, reason: string, remedy: string): FieldProblem {
  // Messages show no cookies, which are secrets, and no objects.
  const shown = /cookies/.test(path) || typeof error.data === "object" ? undefined : error.data;
  return { path, value: shown, reason, remedy };
}
