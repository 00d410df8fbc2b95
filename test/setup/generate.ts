/** `make generate`: writes what is made from crds/ and from what the CNI plugin checks by. */
import { writeFileSync } from "node:fs";
import { REFERENCE as CNI_REFERENCE, generateCniReference } from "../../cni/reference.ts";
import { generateReference, REFERENCE } from "../../operator/api/generate/reference.ts";
import { generateTypes, TYPES } from "../../operator/api/generate/types.ts";

writeFileSync(TYPES, await generateTypes());
writeFileSync(REFERENCE, generateReference());
writeFileSync(CNI_REFERENCE, generateCniReference());
