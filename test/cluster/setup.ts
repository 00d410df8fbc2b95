/**
 * Prepares the suite once: starts a cluster, loads the image and installs the chart. The cluster in KUBECONFIG, if
 * set, must be able to pull the image in L2TP_CNI_IMAGE.
 */
import { Cluster, isForeign, kubeCluster, RELEASE, ROOT } from "../harness/cluster.ts";

export async function setup(): Promise<void> {
  if (!isForeign) {
    await kubeCluster("down");
    await kubeCluster("up");
    await kubeCluster("image-import", `${ROOT}dist/image.tar`);
  }
  const cluster = await Cluster.open();
  await cluster.install("--set", "agent.secretsRefresh=2");
  cluster.close();
}

export async function teardown(): Promise<void> {
  if (isForeign) {
    const cluster = await Cluster.open();
    await cluster.helm("uninstall", RELEASE, "--namespace", RELEASE);
    cluster.close();
  } else if (process.env.KEEP_CLUSTER === undefined) {
    // A kept cluster shows why a run has failed.
    await kubeCluster("down");
  }
}
