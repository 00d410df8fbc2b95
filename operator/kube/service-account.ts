/** Access to the API server with a pod's service account. */
import { existsSync } from "node:fs";
import { isIPv6 } from "node:net";
import { join } from "node:path";
import { type ClusterAccess, directAccess } from "./access.ts";

/** Folder that the kubelet mounts into each pod. The kubelet replaces the token before it expires. */
const FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount";

/**
 * Returns access with the pod's service account; null outside a pod, and in a pod without a token.
 * @throws Error if the environment lacks the API server's address
 */
export function serviceAccountAccess(
  env: Readonly<Record<string, string | undefined>>,
  folder = FOLDER,
): ClusterAccess | null {
  const token = join(folder, "token");
  if (!existsSync(token)) return null;
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = env;
  if (!host || !port) {
    const missing = host ? "KUBERNETES_SERVICE_PORT" : "KUBERNETES_SERVICE_HOST";
    throw new Error(`${missing} is not set, although ${token} exists; use --kubeconfig <file>`);
  }
  return directAccess({
    server: new URL(`https://${isIPv6(host) ? `[${host}]` : host}:${port}`),
    ca: { file: join(folder, "ca.crt"), field: "the service account's ca.crt" },
    token: { file: token, field: "the service account's token" },
  });
}
