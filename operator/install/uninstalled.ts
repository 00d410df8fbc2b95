/**
 * Decides whether a stopping process is being upgraded or uninstalled. Before helm uninstalls a release, a job
 * marks the release's ConfigMap, which the processes watch. A refused request is no evidence: requests of a pod
 * that was deleted by force, or to an API server that has just started, are refused, too.
 */
import type { KubeClient } from "../kube/client.ts";
import { KubeError } from "../kube/errors.ts";
import {
  CONFIG_MAPS,
  collectionPath,
  DAEMON_SETS,
  type KubeObject,
  objectPath,
} from "../kube/object.ts";
import { Reflector } from "../kube/reflector.ts";

const TIMEOUT_MS = 5000;
const KEY = "uninstalling";

interface ConfigMap extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}

/** Identifies the release of a process. */
export interface Release {
  readonly client: KubeClient;
  /** "namespace/name" of the process's DaemonSet. */
  readonly daemonSet: string;
  /** Name of the ConfigMap, in the same namespace. */
  readonly marker: string;
}

/** Watches the ConfigMap that marks an uninstallation. */
export class UninstallWatch {
  readonly #release: Release;
  readonly #marker: Reflector<ConfigMap>;
  #isMarked = false;

  constructor(release: Release) {
    const [namespace = ""] = release.daemonSet.split("/");
    this.#release = release;
    this.#marker = new Reflector<ConfigMap>({
      client: release.client,
      path: collectionPath(CONFIG_MAPS, namespace),
      fieldSelector: `metadata.name=${release.marker}`,
      changed: (key) => {
        const marked = this.#marker.get(key)?.data?.[KEY];
        // The ConfigMap is deleted with the release. The mark must outlive it.
        if (marked !== undefined) this.#isMarked = marked === "true";
      },
      failed: () => {},
    });
  }

  /** Watches the ConfigMap until the signal is aborted. */
  run(signal: AbortSignal): Promise<void> {
    return this.#marker.run(signal);
  }

  /** True if the release is being uninstalled. Call when the process is told to stop. */
  async isUninstalled(): Promise<boolean> {
    if (this.#isMarked) return true;
    const { client, daemonSet } = this.#release;
    const [namespace, name = ""] = daemonSet.split("/");
    const path = objectPath(DAEMON_SETS, name, namespace);
    try {
      const { metadata } = await client.request<KubeObject>({
        method: "GET",
        path,
        timeoutMs: TIMEOUT_MS,
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      return metadata.deletionTimestamp !== undefined;
    } catch (error) {
      return error instanceof KubeError && error.isNotFound;
    }
  }
}

/** Marks the release as being uninstalled. @throws KubeError */
export async function markUninstalled(
  client: KubeClient,
  namespace: string,
  marker: string,
): Promise<void> {
  await client.request({
    method: "PATCH",
    path: objectPath(CONFIG_MAPS, marker, namespace),
    body: { data: { [KEY]: "true" } },
    contentType: "application/merge-patch+json",
  });
}
