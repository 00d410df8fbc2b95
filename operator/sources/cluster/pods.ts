/** What this node's pods ask for, for runtimes that do not pass annotations to CNI. */

import { AgentError } from "../../agent-error.ts";
import { ANNOTATION } from "../../agent-protocol.ts";
import type { KubeClient } from "../../kube/client.ts";
import { KubeError } from "../../kube/errors.ts";
import { collectionPath, type KubeObject, objectPath, PODS } from "../../kube/object.ts";
import { Reflector } from "../../kube/reflector.ts";

/** Of the time that a runtime gives to an ADD. */
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

  /** @param signal ends the watch that the first call begins */
  async annotationOf(pod: string, uid: string | null, signal: AbortSignal): Promise<string | null> {
    if (!this.#isWatching) {
      this.#isWatching = true;
      void this.#pods.run(signal);
    }
    // One that has just been created is not seen yet, and perhaps one of the same name still is.
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
        throw new AgentError("UnknownPod", `there is no pod ${pod}`, "nothing is left to be done");
      }
      const message = `what pod ${pod} asks for cannot be read: ${(error as Error).message}`;
      const remedy = "the runtime will try again; one that passes annotations needs no API server";
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
