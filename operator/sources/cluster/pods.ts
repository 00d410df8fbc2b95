/** Reads the annotations of this node's pods, for runtimes that do not pass them to CNI. */

import { AgentError } from "../../agent-error.ts";
import { ANNOTATION } from "../../agent-protocol.ts";
import type { KubeClient } from "../../kube/client.ts";
import { KubeError } from "../../kube/errors.ts";
import { collectionPath, type KubeObject, objectPath, PODS } from "../../kube/object.ts";
import { Reflector } from "../../kube/reflector.ts";

/** Part of the time that a runtime permits for an ADD. */
const READ_TIMEOUT_MS = 5000;

export class Pods {
  readonly #client: KubeClient;
  readonly #pods: Reflector<KubeObject>;
  #isWatching = false;

  constructor(client: KubeClient, nodeName: string, failed: (error: KubeError) => void) {
    this.#client = client;
    this.#pods = new Reflector({
      client,
      path: collectionPath(PODS),
      fieldSelector: `spec.nodeName=${nodeName}`,
      fromCache: true,
      keep: keepOfPod,
      changed: () => {},
      failed,
    });
  }

  /** Returns the pod's annotation; null: none. @param signal ends the watch, which the first call starts */
  async annotationOf(pod: string, uid: string | null, signal: AbortSignal): Promise<string | null> {
    if (!this.#isWatching) {
      this.#isWatching = true;
      void this.#pods.run(signal);
    }
    // The watch may not have seen a new pod yet, and may still have an earlier one of the same name.
    const seen = this.#pods.get(pod);
    const isSame = uid === null || seen?.metadata.uid === uid;
    const known = seen !== undefined && isSame ? seen : await this.#read(pod);
    return known.metadata.annotations?.[ANNOTATION] ?? null;
  }

  async #read(pod: string): Promise<KubeObject> {
    const [namespace, name = ""] = pod.split("/");
    const path = objectPath(PODS, name, namespace);
    try {
      return await this.#client.request({ method: "GET", path, timeoutMs: READ_TIMEOUT_MS });
    } catch (error) {
      if (error instanceof KubeError && error.isNotFound) {
        throw new AgentError("UnknownPod", `pod ${pod} not found`, "nothing to do");
      }
      const message = `cannot read the ${ANNOTATION} annotation of pod ${pod}: ${(error as Error).message}`;
      const remedy = "the runtime retries; a runtime that passes annotations needs no API server";
      throw new AgentError("NotReady", message, remedy);
    }
  }
}

function keepOfPod({ metadata }: KubeObject): KubeObject {
  const { name, namespace, uid, resourceVersion, annotations } = metadata;
  const asked = annotations?.[ANNOTATION];
  return {
    metadata: {
      name,
      ...(namespace && { namespace }),
      ...(uid && { uid }),
      ...(resourceVersion && { resourceVersion }),
      ...(asked === undefined ? {} : { annotations: { [ANNOTATION]: asked } }),
    },
  };
}
