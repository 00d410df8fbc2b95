/** A cluster that permits critical priority classes only in namespaces with a quota, like GKE. */
import { writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { stringify } from "yaml";
import { Cluster, isForeign, kubeCluster, RELEASE, type Reported } from "../harness/cluster.ts";
import { until } from "../harness/wait.ts";

const CONFIG = "/var/lib/kubernetes/admission.yaml";
const FLAGS = "KUBE_CLUSTER_APISERVER_FLAGS";
const CRITICAL = ["system-node-critical", "system-cluster-critical"];
const admission = {
  apiVersion: "apiserver.config.k8s.io/v1",
  kind: "AdmissionConfiguration",
  plugins: [
    {
      name: "ResourceQuota",
      configuration: {
        apiVersion: "apiserver.config.k8s.io/v1",
        kind: "ResourceQuotaConfiguration",
        limitedResources: [
          {
            resource: "pods",
            matchScopes: [{ scopeName: "PriorityClass", operator: "In", values: CRITICAL }],
          },
        ],
      },
    },
  ],
};

const cluster = await Cluster.open();
afterAll(() => cluster.close());

async function restartApiServer(flags?: string): Promise<void> {
  await kubeCluster("kill-apiserver");
  if (flags === undefined) delete process.env[FLAGS];
  else process.env[FLAGS] = flags;
  await kubeCluster("start-apiserver");
}

const namespaced = <T>(path: string, query: Record<string, string> = {}) =>
  cluster.client.get<{ items: T[] }>(`/api/v1/namespaces/${RELEASE}/${path}`, query);

/** Returns how many pods of the workload the quota has refused. */
async function refusals(kind: string): Promise<number> {
  const { items } = await namespaced<{
    readonly message: string;
    readonly count?: number;
    readonly involvedObject: { readonly kind: string };
  }>("events", { fieldSelector: "reason=FailedCreate" });
  return items
    .filter(({ involvedObject }) => involvedObject.kind === kind)
    .filter(({ message }) => message.includes("insufficient quota to match these scopes"))
    .reduce((sum, { count = 1 }) => sum + count, 0);
}

describe.skipIf(isForeign)("a cluster that limits critical priority classes", () => {
  beforeAll(async () => {
    writeFileSync(`/var/lib/kube-cluster/cp/fs${CONFIG}`, stringify(admission));
    await restartApiServer(`--admission-control-config-file=${CONFIG}`);
  });

  afterAll(async () => {
    await restartApiServer();
    await cluster.install("--set", "agent.secretsRefresh=2");
  });

  it("refuses pods of a release without a quota, and runs pods of a release with one", async () => {
    const selector = "app.kubernetes.io/component in (agent,controller)";
    const where = ["--namespace", RELEASE];
    await cluster.kubectl(...where, "delete", "pods", "--wait=false", "--selector", selector);
    for (const kind of ["DaemonSet", "ReplicaSet"]) {
      await until(`a ${kind}'s pods are refused`, async () => (await refusals(kind)) > 0, 60_000);
    }

    await cluster.install("--set", "agent.secretsRefresh=2,resourceQuota.enabled=true");
    const { items } = await namespaced<Reported>("pods", {
      fieldSelector: "status.phase=Running",
    });
    const alive = items.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
    const classes = alive.map(({ spec }) => spec.priorityClassName);
    expect(classes.filter((name) => name === "system-node-critical")).toHaveLength(4);
    expect(classes.filter((name) => name === "system-cluster-critical")).toHaveLength(2);
    // Kubernetes counts again every five minutes only: after many changes at once its number can be behind.
    await until("the quota counts pods", async () => {
      const quotas = await namespaced<{ status: { used?: { pods?: string } } }>("resourcequotas");
      const counts = quotas.items.map(({ status }) => Number(status.used?.pods ?? 0));
      return counts.length === 1 && counts.every((count) => count > 0);
    });
  });
});
