/** Once for all files of the suite: a cluster, our image in it, and the chart installed. */
import { Cluster, kubeCluster, ROOT } from "../harness/cluster.ts";

export async function setup(): Promise<void> {
  await kubeCluster("down");
  await kubeCluster("up");
  await kubeCluster("image-import", `${ROOT}dist/image.tar`);
  const cluster = new Cluster();
  await cluster.install("--set", "agent.secretsRefresh=2");
  cluster.close();
}

export async function teardown(): Promise<void> {
  // Of a run that has failed, this is what says why.
  if (process.env.KEEP_CLUSTER === undefined) await kubeCluster("down");
}
