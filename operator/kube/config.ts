/** Finds the API server and its credentials. */
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import type { ClusterAccess } from "./access.ts";
import { serviceAccountAccess } from "./service-account.ts";

/**
 * Reads a kubeconfig file. Without one, uses the first that exists: the files in KUBECONFIG, ~/.kube/config,
 * the pod's service account.
 * @param env the process's environment
 * @throws Error that names the file and the field
 */
export async function loadConfig(
  file: string | undefined,
  env: Readonly<Record<string, string | undefined>>,
): Promise<ClusterAccess> {
  const files = file === undefined ? defaultFiles(env) : [file];
  if (files.length > 0) {
    // Loaded lazily: a pod with a service account needs no YAML parser.
    const { readKubeconfig } = await import("./kubeconfig.ts");
    return readKubeconfig(files);
  }
  const access = serviceAccountAccess(env);
  if (access === null) throw new Error("no cluster: not running in a pod, and no kubeconfig found");
  return access;
}

/** Returns the existing files. Ignores missing files, like kubectl, unless all files of KUBECONFIG are missing. */
function defaultFiles({ KUBECONFIG, HOME }: Readonly<Record<string, string | undefined>>) {
  const named = (KUBECONFIG ?? "").split(delimiter).filter((path) => path !== "");
  const files = named.length > 0 || !HOME ? named : [join(HOME, ".kube", "config")];
  const found = files.filter((path) => existsSync(path));
  if (named.length > 0 && found.length === 0) {
    throw new Error(`KUBECONFIG: ${named.join(delimiter)} does not exist`);
  }
  return found;
}
