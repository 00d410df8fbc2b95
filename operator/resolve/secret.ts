/** Reads the Secrets that manifests name. */
import { RefusalError } from "./refusal.ts";

/** Returns the value of a Secret's key. @throws Error that names the missing Secret or key */
export type SecretReader = (namespace: string, name: string, key: string) => string;

/** Returns the value. @param path of the field that names the Secret @throws RefusalError if it cannot be read */
export function readSecret(
  path: string,
  { namespace, name, key }: { namespace: string; name: string; key: string },
  secrets: SecretReader,
): string {
  try {
    return secrets(namespace, name, key);
  } catch (error) {
    const message = `${path}: ${error instanceof Error ? error.message : String(error)}`;
    throw new RefusalError("Programmed", "NoSecret", message);
  }
}
