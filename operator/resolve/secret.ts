/** Secrets that manifests name. */
import { RefusalError } from "./refusal.ts";

/** Secrets by namespace, name and key. @throws Error that says what is missing, and where */
export type SecretReader = (namespace: string, name: string, key: string) => string;

/** @param path of the field that names it @throws RefusalError where it cannot be read */
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
