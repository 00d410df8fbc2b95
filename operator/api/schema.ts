/**
 * Checks objects against the schemas of crds/, as the API server does, and strictly: unknown fields
 * are errors, and defaults are filled in.
 */
import { Ajv, type ErrorObject, type ValidateFunction } from "ajv";
import type { FieldProblem } from "../../model/problem.ts";
import { parseAddress } from "../../net/ip.ts";
import { readDefinitions } from "./crds.ts";
import { API_VERSION, type L2tpObject } from "./types.ts";

type Json = Record<string, unknown>;

/** RFC 1123 subdomain and label, as Kubernetes wants names. */
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;

const ajv = new Ajv({ allErrors: true, useDefaults: true, verbose: true, strict: false });
ajv.addFormat("int64", true);
ajv.addFormat("date-time", true);
ajv.addFormat("ipv4", (text) => parseAddress(text)?.length === 4);
ajv.addFormat("ipv6", (text) => parseAddress(text)?.length === 16);

interface Kind {
  readonly namespaced: boolean;
  /** Where unknown fields are errors: somebody has misspelt them. */
  readonly strict: ValidateFunction;
  /** Where they are not: an API server has checked them, by a newer definition than ours. */
  readonly lenient: ValidateFunction;
}

const kinds: ReadonlyMap<string, Kind> = new Map(
  readDefinitions().map(({ kind, scope, schema }) => {
    const strict = ajv.compile(closed(schema as Json));
    const lenient = ajv.compile(schema as Json);
    return [kind, { namespaced: scope === "Namespaced", strict, lenient }];
  }),
);

/** A structural schema cannot say that other fields are errors; ours then does. */
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

/** The kinds that we know, for messages. */
const KINDS = [...kinds.keys()].join(" and ");

export function isKind(kind: string): boolean {
  return kinds.has(kind);
}

/** Whether the document is an object of ours at all, by its kind and group. */
export function isL2tpDocument(document: unknown): document is Json {
  if (typeof document !== "object" || document === null) return false;
  const { apiVersion, kind } = document as Json;
  return String(apiVersion).startsWith("l2tp.dev/") || kinds.has(String(kind));
}

/**
 * The object with its defaults, or everything that is wrong with its form. Changes `document`.
 * @param isFromApi an API server has checked it already, perhaps by a newer definition
 */
export function checkForm(document: Json, isFromApi = false): Checked {
  const { apiVersion, kind } = document;
  if (apiVersion !== API_VERSION) {
    return refuse("apiVersion", apiVersion, "not a version that we know", `use ${API_VERSION}`);
  }
  const known = kinds.get(String(kind));
  if (known === undefined) {
    return refuse("kind", kind, "not a kind that we know", `there are ${KINDS}`);
  }
  const problems = checkMetadata(document, known.namespaced);
  // What `kubectl get -o yaml` has written is a manifest all the same.
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
      reason: "not a name",
      remedy: `up to ${length} lower-case letters, digits and dashes`,
    });
  }
  if (!namespaced && namespace !== undefined) {
    const remedy = "leave it out";
    const reason = "the kind has no namespaces";
    problems.push({ path: "metadata.namespace", value: namespace, reason, remedy });
  }
  if (namespaced) {
    // As kubectl does where none is named.
    document.metadata = { ...metadata, namespace: namespace ?? "default" };
    if (typeof (namespace ?? "") !== "string" || !LABEL.test(String(namespace ?? "default"))) {
      const remedy = "up to 63 lower-case letters, digits and dashes";
      problems.push({
        path: "metadata.namespace",
        value: namespace,
        reason: "not a namespace",
        remedy,
      });
    }
  }
  return problems;
}

/** Of alternatives only their failing together is an error. */
const isOutermost = ({ schemaPath }: ErrorObject): boolean => !schemaPath.includes("/anyOf/");

function describeError(error: ErrorObject): FieldProblem {
  const base = error.instancePath.slice(1).replaceAll("/", ".");
  const join = (field: string) => (base === "" ? field : `${base}.${field}`);
  const { description } = (error.parentSchema ?? {}) as { description?: string };
  const what = description === undefined ? "" : ` (${description.replace(/\.$/, "")})`;
  switch (error.keyword) {
    case "additionalProperties": {
      const field = String(error.params.additionalProperty);
      const known = Object.keys((error.parentSchema?.properties ?? {}) as Json).join(", ");
      return {
        path: join(field),
        value: undefined,
        reason: "no such field",
        remedy: `there are ${known}`,
      };
    }
    case "required":
      return {
        path: join(String(error.params.missingProperty)),
        value: undefined,
        reason: "missing",
        remedy: "it must be given",
      };
    case "enum": {
      const allowed = (error.params.allowedValues as unknown[]).join(", ");
      return problem(base, error, "not one of its values", `one of ${allowed}`);
    }
    case "type": {
      const isNumberForText = error.params.type === "string" && typeof error.data === "number";
      const quotes = isNumberForText ? ", in quotes: YAML takes it for a number" : "";
      const remedy = `a ${error.params.type}${quotes}${what}`;
      return problem(base, error, `not of type ${error.params.type}`, remedy);
    }
    case "anyOf":
      return problem(base, error, "not an IP address", "IPv4 or IPv6, such as 192.0.2.1");
    case "minimum":
    case "maximum": {
      const { minimum, maximum } = error.parentSchema as { minimum: number; maximum: number };
      const remedy = `a whole number from ${minimum} to ${maximum}`;
      return problem(base, error, "out of range", remedy);
    }
    case "pattern":
      return problem(base, error, "not of its form", `correct it${what}`);
    default:
      return problem(base, error, String(error.message), `change it${what}`);
  }
}

function problem(path: string, error: ErrorObject, reason: string, remedy: string): FieldProblem {
  // A cookie may stand there, or a whole object.
  const shown = /cookies/.test(path) || typeof error.data === "object" ? undefined : error.data;
  return { path, value: shown, reason, remedy };
}
