/**
 * Where the API server is, and who we are. A module of its own, since the library behind it costs half a
 * second and 80 MiB to load: an agent without a cluster does without.
 */
import { KubeConfig } from "@kubernetes/client-node";

/** What the library assumes where it finds nothing. */
const ASSUMED_SERVER = "http://localhost:8080";

/**
 * By a kubeconfig file; without one, as kubectl does, or by the pod's service account.
 * @throws Error where there is none
 */
export function loadConfig(file: string | undefined): KubeConfig {
  const config = new KubeConfig();
  if (file !== undefined) config.loadFromFile(file);
  else config.loadFromDefault();
  if (file === undefined && config.getCurrentCluster()?.server === ASSUMED_SERVER) {
    throw new Error("no cluster is known here: this is no pod, and there is no kubeconfig");
  }
  return config;
}
