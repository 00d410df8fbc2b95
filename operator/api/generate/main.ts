/** `make generate`: writes what is generated from crds/. */
import { writeFileSync } from "node:fs";
import { generateReference, REFERENCE } from "./reference.ts";
import { generateTypes, TYPES } from "./types.ts";

writeFileSync(TYPES, await generateTypes());
writeFileSync(REFERENCE, generateReference());
