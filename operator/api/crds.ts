/** Reads the definitions in crds/. */
import { readFileSync } from "node:fs";
import { parse } from "yaml";

/** The part of OpenAPI that the definitions use. */
export interface Schema {
  readonly type?: string;
  readonly description?: string;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema;
  readonly items?: Schema;
  readonly required?: readonly string[];
  readonly enum?: readonly (string | number)[];
  readonly default?: unknown;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly pattern?: string;
  readonly anyOf?: readonly { readonly format?: string }[];
}

/** Returns "0 to 63" and "Copy" for the values of an enum. @param options numbers among them are consecutive */
export function shownOptions(options: readonly (string | number)[]): string[] {
  const numbers = options.filter((option) => typeof option === "number");
  const words = options.filter((option) => typeof option === "string");
  return numbers.length === 0 ? words : [`${numbers[0]} to ${numbers.at(-1)}`, ...words];
}

export interface Definition {
  readonly kind: string;
  readonly scope: string;
  readonly plural: string;
  readonly shortNames: readonly string[];
  readonly version: string;
  readonly group: string;
  readonly schema: Schema;
}

export const CRD_FILES = ["l2tptunnels.yaml", "l2tpsessions.yaml"] as const;

interface Crd {
  readonly spec: {
    readonly group: string;
    readonly scope: string;
    readonly names: {
      readonly kind: string;
      readonly plural: string;
      readonly shortNames: readonly string[];
    };
    readonly versions: readonly {
      readonly name: string;
      readonly schema: { readonly openAPIV3Schema: Schema };
    }[];
  };
}

/** Reads the CRDs in crds/. */
export function readDefinitions(): Definition[] {
  return CRD_FILES.map((file) => {
    const text = readFileSync(new URL(`../../crds/${file}`, import.meta.url), "utf8");
    const { group, scope, names, versions } = (parse(text) as Crd).spec;
    const [version] = versions;
    if (version === undefined) throw new Error(`${file}: no version`);
    const { openAPIV3Schema: schema } = version.schema;
    return { ...names, group, scope, version: version.name, schema };
  });
}
