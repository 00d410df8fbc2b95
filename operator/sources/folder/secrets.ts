/** Reads Secrets from files FOLDER/NAMESPACE/NAME/KEY, the layout of a Secret volume. */
import { readFileSync, type Stats, statSync } from "node:fs";
import { join } from "node:path";
import type { SecretReader } from "../../resolve/secret.ts";

const MAX_SECRET_BYTES = 4096;
const NAME = /^[A-Za-z0-9][-._A-Za-z0-9]*$/;

/** Returns a reader of the folder's secret files. */
export function fileSecrets(folder: string): SecretReader {
  return (namespace, name, key) => {
    // Names come from manifests, and must not lead out of the folder.
    for (const part of [namespace, name, key]) {
      if (!NAME.test(part))
        throw new Error(`${JSON.stringify(part)} is not a valid name for a secret file`);
    }
    const path = join(folder, namespace, name, key);
    let stat: Stats;
    try {
      stat = statSync(path);
    } catch {
      throw new Error(`secret file ${path} not found; create it`);
    }
    // Reading a pipe would block until it has a writer.
    if (!stat.isFile()) throw new Error(`${path} is not a regular file; replace it with one`);
    if ((stat.mode & 0o077) !== 0) {
      throw new Error(`${path} must not be accessible by group or others; run chmod 600 ${path}`);
    }
    if (stat.size > MAX_SECRET_BYTES)
      throw new Error(
        `${path} is larger than ${MAX_SECRET_BYTES} bytes; store only the cookie or shared secret in it`,
      );
    return readFileSync(path, "utf8");
  };
}
