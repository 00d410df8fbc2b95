/** Whether a process that is told to stop is being replaced, or taken away for good. */
import type { KubeClient } from "../kube/client.ts";
import { KubeError } from "../kube/errors.ts";
import { DAEMON_SETS, objectPath } from "../kube/object.ts";

const TIMEOUT_MS = 5000;

/**
 * A DaemonSet that is gone takes its pods for good, and so does a role that is: both go with the release.
 * Where the API server does not answer, nobody has uninstalled anything.
 * @param daemonSet "namespace/name"
 */
export async function isUninstalled(client: KubeClient, daemonSet: string): Promise<boolean> {
  const [namespace, name = ""] = daemonSet.split("/");
  const path = objectPath(DAEMON_SETS, name, namespace);
  try {
    const { metadata } = await client.request<{ metadata: { deletionTimestamp?: string } }>({
      method: "GET",
      path,
      timeoutMs: TIMEOUT_MS,
    });
    return metadata.deletionTimestamp !== undefined;
  } catch (error) {
    return error instanceof KubeError && [401, 403, 404].includes(error.status);
  }
}
