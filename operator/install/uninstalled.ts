/**
 * Whether a process that is told to stop is being replaced, or taken away for good. Before a release is
 * uninstalled its ConfigMap is marked, and all follow it; a refusal to answer is no evidence, since a pod
 * that is deleted by force, and an API server that has just started, make the same.
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

export interface Release {
  readonly client: KubeClient;
  /** "namespace/name" of our own DaemonSet. */
  readonly daemonSet: string;
  /** Of the ConfigMap, in the same namespace. */
  readonly marker: string;
}

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
        // It is deleted with the release: what was marked stays so.
        if (marked !== undefined) this.#isMarked = marked === "true";
      },
      failed: () => {},
    });
  }

  /** Follows the marker until the signal is aborted. */
  run(signal: AbortSignal): Promise<void> {
    return this.#marker.run(signal);
  }

  /** To be asked when the process is told to stop. */
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

/** Tells all that follow the marker. */
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
