/**
 * The cluster that tests use: that of test/kube/kube-cluster, or that of KUBECONFIG. The nodes of the latter can be
 * reached by the API server only.
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { type Condition, SESSIONS, TUNNELS } from "../../operator/api/types.ts";
import { KubeClient } from "../../operator/kube/client.ts";
import { loadConfig } from "../../operator/kube/config.ts";
import { KubeError } from "../../operator/kube/errors.ts";
import {
  type KubeObject,
  LEASES,
  NAMESPACES,
  NODES,
  objectPath,
  PODS,
  type Resource,
  SECRETS,
} from "../../operator/kube/object.ts";
import { type Output, run, tryRun } from "./run.ts";
import { until } from "./wait.ts";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));
export const PROGRAM = `${ROOT}test/kube/kube-cluster/kube-cluster`;
const STATE = "/var/lib/kube-cluster";
const { KUBECONFIG = "", L2TP_CNI_IMAGE } = process.env;
/** True for a cluster of KUBECONFIG: tests must not stop its nodes or components. */
export const isForeign = KUBECONFIG !== "" && KUBECONFIG !== `${STATE}/admin.kubeconfig`;
const kubeconfig = isForeign ? KUBECONFIG : `${STATE}/admin.kubeconfig`;
const BUSYBOX = isForeign ? "busybox:1.36" : "localhost/busybox:1";
export const RELEASE = "l2tp-cni";
export const CHART = `${ROOT}charts/l2tp-cni`;
/** A cluster on two cores is slow. */
export const PATIENCE_MS = 120_000;

export interface ClusterNode {
  readonly name: string;
  readonly address: string;
}

interface NodeItem {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly unschedulable?: boolean; readonly taints?: readonly object[] };
  readonly status: {
    readonly addresses: readonly { readonly type: string; readonly address: string }[];
  };
}

const PATIENT = { timeoutMs: 900_000 };

const DEPLOYMENTS: Resource = { apiVersion: "apps/v1", kind: "Deployment", plural: "deployments" };
const KINDS: Readonly<Record<string, Resource>> = {
  L2tpTunnel: TUNNELS,
  L2tpSession: SESSIONS,
  Pod: PODS,
  Deployment: DEPLOYMENTS,
  Lease: LEASES,
  Secret: SECRETS,
  Namespace: NAMESPACES,
  Node: NODES,
};

export type Reported = KubeObject & {
  readonly spec: Readonly<Record<string, unknown>>;
  readonly status?: Readonly<Record<string, unknown>> & {
    readonly conditions?: readonly Condition[];
    readonly phase?: string;
    readonly podIP?: string;
  };
};

/** Runs test/kube/kube-cluster. */
export function kubeCluster(...args: string[]): Promise<string> {
  return run([PROGRAM, ...args], PATIENT);
}

export class Cluster {
  readonly client: KubeClient;
  /** Two nodes that run pods. */
  readonly nodes: readonly ClusterNode[];

  private constructor(client: KubeClient, nodes: readonly ClusterNode[]) {
    this.client = client;
    this.nodes = nodes;
  }

  static async open(): Promise<Cluster> {
    const client = new KubeClient(await loadConfig(kubeconfig, process.env), "test");
    const { items } = await client.get<{ items: NodeItem[] }>("/api/v1/nodes");
    const usable = items.filter(({ spec }) => !spec.unschedulable && !spec.taints?.length);
    if (usable.length < 2) throw new Error("the cluster must have two schedulable nodes");
    const nodes = usable.slice(0, 2).map(({ metadata: { name }, status }) => {
      const internal = status.addresses.find(({ type }) => type === "InternalIP");
      return { name, address: internal?.address ?? "" };
    });
    return new Cluster(client, nodes);
  }

  kubectl(...args: string[]): Promise<string> {
    return isForeign ? run(["kubectl", ...args], PATIENT) : kubeCluster("kubectl", ...args);
  }

  helm(...args: string[]): Promise<Output> {
    return tryRun(isForeign ? ["helm", ...args] : [PROGRAM, "helm", ...args], PATIENT);
  }

  onNode(node: string, ...command: string[]): Promise<string> {
    return kubeCluster("exec-node", node, "--", ...command);
  }

  tryOnNode(node: string, command: readonly string[], input = ""): Promise<Output> {
    return tryRun([PROGRAM, "exec-node", node, "--", ...command], { input, timeoutMs: 120_000 });
  }

  /** Applies the objects, as `kubectl apply --server-side` does. */
  async apply(...objects: object[]): Promise<void> {
    for (const object of objects) await this.client.apply(pathOf(object), object, "test");
  }

  async create(object: object): Promise<void> {
    const path = pathOf(object);
    const collection = path.slice(0, path.lastIndexOf("/"));
    await this.client.request({ method: "POST", path: collection, body: object });
  }

  /** @returns undefined if the object does not exist */
  async find(kind: string, name: string, namespace?: string): Promise<Reported | undefined> {
    try {
      return await this.client.get<Reported>(path(kind, name, namespace));
    } catch (error) {
      if (error instanceof KubeError && error.isNotFound) return undefined;
      throw error;
    }
  }

  /** Requests deletion. The object remains until its finalizers are removed. */
  async delete(kind: string, name: string, namespace?: string): Promise<void> {
    const body = { gracePeriodSeconds: 1, propagationPolicy: "Background" };
    try {
      await this.client.request({ method: "DELETE", path: path(kind, name, namespace), body });
    } catch (error) {
      if (!(error instanceof KubeError && error.isNotFound)) throw error;
    }
  }

  /** Deletes the objects, and waits until they are removed. */
  async remove(...objects: readonly object[]): Promise<void> {
    const all = objects as readonly KubeObject[];
    for (const { kind = "", metadata } of all) {
      await this.delete(kind, metadata.name, metadata.namespace);
    }
    for (const { kind = "", metadata } of all) {
      await this.gone(kind, metadata.name, metadata.namespace);
    }
  }

  /** The path of a pod's network namespace on its node, found by the pod's address. */
  async netnsOf(pod: string, node: string): Promise<string> {
    const { status } = (await this.find("Pod", pod, "default")) as Reported;
    const list = await this.onNode(node, "ls", "/run/netns");
    for (const entry of list.trim().split("\n")) {
      const path = `/var/run/netns/${entry}`;
      const addresses = await this.onNode(node, "nsenter", `--net=${path}`, "ip", "-o", "addr");
      if (addresses.includes(`inet ${status?.podIP}/`)) return path;
    }
    throw new Error(`no network namespace has the address of pod ${pod}`);
  }

  gone(kind: string, name: string, namespace?: string): Promise<boolean> {
    const what = `${kind} ${name} is removed`;
    return until(what, async () => !(await this.find(kind, name, namespace)), PATIENCE_MS);
  }

  /** Waits for a condition of the object's current generation. */
  condition(
    { kind, metadata }: KubeObject,
    type: string,
    status: string,
    reason?: string,
  ): Promise<Condition> {
    const { name, namespace } = metadata;
    const what = `${kind} ${name} is ${type}=${status} ${reason ?? ""}`;
    return until(
      what,
      async () => {
        const object = await this.find(kind ?? "", name, namespace);
        const found = object?.status?.conditions?.find((item) => item.type === type);
        const isSo =
          found?.status === status &&
          (reason === undefined || found.reason === reason) &&
          found.observedGeneration === object?.metadata.generation;
        if (isSo) return found;
        throw new Error(JSON.stringify(object?.status ?? "not found"));
      },
      PATIENCE_MS,
    );
  }

  podRuns(name: string, namespace = "default"): Promise<Reported> {
    return until(
      `pod ${name} runs`,
      async () => {
        const pod = await this.find("Pod", name, namespace);
        if (pod?.status?.phase === "Running") return pod;
        throw new Error((await this.eventsOf(name, namespace)).join("\n"));
      },
      PATIENCE_MS,
    );
  }

  async eventsOf(name: string, namespace = "default"): Promise<string[]> {
    const list = await this.client.get<{ items: { reason: string; message: string }[] }>(
      `/api/v1/namespaces/${namespace}/events`,
      { fieldSelector: `involvedObject.name=${name}` },
    );
    return list.items.map(({ reason, message }) => `${reason}: ${message}`);
  }

  inPod(name: string, ...command: string[]): Promise<string> {
    return this.kubectl("exec", name, "--", ...command);
  }

  /** Waits until one pod can ping the other. @param from a pod in namespace default */
  pings(from: string, address: string): Promise<string> {
    return until(
      `${from} reaches ${address}`,
      () => this.inPod(from, "ping", "-c", "1", "-W", "1", address),
      PATIENCE_MS,
    );
  }

  /** Runs l2tpctl in the agent's pod of a node. */
  async ctl<T>(node: string, ...args: string[]): Promise<T> {
    const pod = await this.#agentOf(node);
    const text = await this.kubectl(
      ...["--namespace", RELEASE, "exec", pod, "--container", "agent", "--"],
      ...["l2tpctl", ...args, "-o", "json"],
    );
    return JSON.parse(text) as T;
  }

  async #agentOf(node: string): Promise<string> {
    const list = await this.client.get<{ items: Reported[] }>(
      `/api/v1/namespaces/${RELEASE}/pods`,
      {
        labelSelector: "app.kubernetes.io/component=agent",
        fieldSelector: `spec.nodeName=${node}`,
      },
    );
    const [pod] = list.items.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
    if (pod === undefined) throw new Error(`no agent on ${node}`);
    return pod.metadata.name;
  }

  /** Devices of l2tp-cni on a node, outside of pods. */
  async devices(node: string): Promise<string[]> {
    // On a foreign cluster only the agent can list them.
    if (isForeign) {
      return (await this.ctl<{ name: string }[]>(node, "sessions")).map(({ name }) => name);
    }
    const text = await this.onNode(node, "ip", "-o", "link", "show");
    return [...text.matchAll(/^\d+: (l2\w+-?\w*)[:@]/gm)].map(([, name = ""]) => name);
  }

  async installCrds(): Promise<void> {
    const collection = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    for (const { plural } of [TUNNELS, SESSIONS]) {
      const body = parse(readFileSync(`${ROOT}crds/${plural}.yaml`, "utf8"));
      await this.client.apply(`${collection}/${plural}.l2tp.dev`, body, "test");
    }
  }

  /** Installs the release, and waits until all its workloads run. */
  async install(...args: string[]): Promise<void> {
    const where = ["--namespace", RELEASE, "--create-namespace"];
    const [repository, tag] = L2TP_CNI_IMAGE?.split(/:(?=[^:/]+$)/) ?? [];
    const image =
      repository === undefined ? [] : ["--set", `image.repository=${repository},image.tag=${tag}`];
    const all = [...where, ...image, ...args];
    const answer = await this.helm("upgrade", "--install", RELEASE, CHART, ...all);
    if (answer.status !== 0) throw new Error(answer.stderr);
    await this.rolledOut();
  }

  async rolledOut(): Promise<void> {
    for (const workload of [
      "daemonset/l2tp-cni-agent",
      "daemonset/l2tp-cni-datapath",
      "deployment/l2tp-cni-controller",
    ]) {
      await this.kubectl(
        ...["--namespace", RELEASE, "rollout", "status", workload, "--timeout=120s"],
      );
    }
  }

  close(): void {
    this.client.close();
  }
}

function path(kind: string, name: string, namespace: string | undefined): string {
  const resource = KINDS[kind];
  if (resource === undefined) throw new Error(`unknown kind ${kind}`);
  return objectPath(resource, name, namespace);
}

function pathOf(object: object): string {
  const { kind = "", metadata } = object as KubeObject;
  return path(kind, metadata.name, metadata.namespace);
}

/** A pod of one container that sleeps. @param sessions the annotation */
export function sleeper(name: string, node: string, sessions?: string | object): object {
  const annotation =
    sessions === undefined || typeof sessions === "string" ? sessions : JSON.stringify(sessions);
  const metadata = {
    name,
    namespace: "default",
    ...(annotation === undefined ? {} : { annotations: { "l2tp.dev/sessions": annotation } }),
  };
  return { apiVersion: "v1", kind: "Pod", metadata, spec: sleep(node) };
}

export function sleep(node: string): object {
  return {
    nodeName: node,
    terminationGracePeriodSeconds: 1,
    containers: [{ name: "main", image: BUSYBOX, command: ["sleep", "1000000"] }],
  };
}

const nameOfTunnel = (isFirst: boolean, port: number) => `${isFirst ? "ab" : "ba"}-${port}`;

/** Both ends of a tunnel between two nodes. */
export function tunnelPair(
  a: ClusterNode,
  b: ClusterNode,
  port: number,
  change = {},
): KubeObject[] {
  const end = (mine: ClusterNode, other: ClusterNode) => ({
    apiVersion: "l2tp.dev/v1alpha1",
    kind: "L2tpTunnel",
    metadata: { name: nameOfTunnel(mine === a, port) },
    spec: {
      nodeName: mine.name,
      local: { port },
      remote: { address: other.address, port },
      tunnelId: port,
      peerTunnelId: port,
      ...change,
    },
  });
  return [end(a, b), end(b, a)];
}

/** Both ends of a session in such a pair of tunnels. */
export function sessionPair(
  a: ClusterNode,
  b: ClusterNode,
  port: number,
  id: number,
  change: object = {},
): KubeObject[] {
  const end = (mine: ClusterNode) => ({
    apiVersion: "l2tp.dev/v1alpha1",
    kind: "L2tpSession",
    metadata: { name: `s${id}-${mine === a ? "a" : "b"}`, namespace: "default" },
    spec: {
      tunnelRef: { name: nameOfTunnel(mine === a, port) },
      sessionId: id,
      peerSessionId: id,
      ...change,
    },
  });
  return [end(a), end(b)];
}
