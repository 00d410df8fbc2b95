/** Secrets as files: FOLDER/NAMESPACE/NAME/KEY, as a Secret volume would hold them. */
import { readFileSync, type Stats, statSync } from "node:fs";
import { join } from "node:path";
import type { SecretReader } from "../../resolve/secret.ts";

const MAX_SECRET_BYTES = 4096;
const NAME = /^[A-Za-z0-9][-._A-Za-z0-9]*$/;

export function fileSecrets(folder: string): SecretReader {
  return (namespace, name, key) => {
    // The names come from manifests: none may lead out of the folder.
    for (const part of [namespace, name, key]) {
      if (!NAME.test(part)) throw new Error(`${JSON.stringify(part)} is no name of a secret`);
    }
    const path = join(folder, namespace, name, key);
    let stat: Stats;
    try {
      stat = statSync(path);
    } catch {
      throw new Error(`no secret file ${path}; put the cookie's hexadecimal digits there`);
    }
    // Reading a pipe would wait for who writes to it.
    if (!stat.isFile()) throw new Error(`${path} is not a file; put the cookie's digits in one`);
    if ((stat.mode & 0o077) !== 0) {
      throw new Error(`${path} is open to others; chmod 600 it`);
    }
    if (stat.size > MAX_SECRET_BYTES) throw new Error(`${path} is too large for a cookie`);
    return readFileSync(path, "utf8");
  };
}
