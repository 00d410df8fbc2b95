/** `make generate`: writes all generated files. */
import { writeFileSync } from "node:fs";
import { CNI_REFERENCE, generateCniReference } from "../../cni/reference.ts";
import {
  generatePackets,
  GENERATED as PACKETS,
} from "../../datapath/userspace/offload/generate/packets.ts";
import { CHECKS, generateChecks } from "../../operator/api/generate/checks.ts";
import { API_REFERENCE, generateReference } from "../../operator/api/generate/reference.ts";
import { generateTypes, TYPES } from "../../operator/api/generate/types.ts";
import { generateValidations } from "../../operator/api/generate/validations.ts";

for (const { url, text } of generateValidations().values()) writeFileSync(url, text);
writeFileSync(TYPES, await generateTypes());
writeFileSync(CHECKS, generateChecks());
writeFileSync(API_REFERENCE, generateReference());
writeFileSync(CNI_REFERENCE, generateCniReference());
writeFileSync(PACKETS, await generatePackets());
