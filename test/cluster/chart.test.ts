/** The chart's objects for clusters that restrict pods, and for each version of Kubernetes. */
import { readFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import type { KubeObject } from "../../operator/kube/object.ts";
import { CHART, Cluster, RELEASE, ROOT } from "../harness/cluster.ts";

interface Container {
  readonly name: string;
  readonly resources: object;
  readonly securityContext: { readonly seLinuxOptions?: object };
}
interface PodSpec {
  readonly priorityClassName?: string;
  readonly containers: readonly Container[];
}
interface Rendered extends KubeObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly spec: Readonly<Record<string, unknown>>;
}

const cluster = await Cluster.open();
afterAll(() => cluster.close());

async function render(version: string, ...values: string[]): Promise<Rendered[]> {
  const sets = values.flatMap((value) => ["--set", value]);
  const where = ["--namespace", RELEASE, "--kube-version", version];
  const { stdout, stderr, status } = await cluster.helm(
    ...["template", RELEASE, CHART, ...where, ...sets],
  );
  expect(status, stderr).toBe(0);
  return parseAllDocuments(stdout)
    .map((document) => document.toJS() as Rendered | null)
    .filter((object) => object !== null);
}

const only = (objects: readonly Rendered[], kind: string) =>
  objects.filter((object) => object.kind === kind);

/** Returns pod specs by the names of their workloads. */
function pods(objects: readonly Rendered[]): Record<string, PodSpec> {
  const workloads = objects.filter(({ spec }) => spec?.template !== undefined);
  const entries = workloads.map(({ metadata, spec }) => {
    const template = spec.template as { readonly spec: PodSpec };
    return [metadata.name.replace(`${RELEASE}-`, ""), template.spec] as const;
  });
  return Object.fromEntries(entries);
}

const NODE_CRITICAL = "system-node-critical";
const CLUSTER_CRITICAL = "system-cluster-critical";

describe("priority classes", () => {
  const classesOf = async (...values: string[]) => {
    const { agent, datapath, controller } = pods(await render("1.30.0", ...values));
    return [agent, datapath, controller].map((pod) => pod?.priorityClassName);
  };

  it("are critical by default, and can be changed or omitted", async () => {
    expect(await classesOf()).toEqual([NODE_CRITICAL, NODE_CRITICAL, CLUSTER_CRITICAL]);
    const other = ["agent.priorityClassName=high", "controller.priorityClassName=low"];
    expect(await classesOf(...other)).toEqual(["high", "high", "low"]);
    const none = ["agent.priorityClassName=", "controller.priorityClassName="];
    expect(await classesOf(...none)).toEqual([undefined, undefined, undefined]);
  });

  const quota = async (version: string, ...values: string[]) =>
    only(await render(version, ...values), "ResourceQuota").map(({ spec }) => spec);
  const quotaOf = (pods: string, ...values: string[]) => ({
    hard: { pods },
    scopeSelector: {
      matchExpressions: [{ scopeName: "PriorityClass", operator: "In", values }],
    },
  });
  const both = quotaOf("20k", NODE_CRITICAL, CLUSTER_CRITICAL);

  it.each<[string, string, string[], object[]]>([
    ["none by default", "1.30.0", [], []],
    ["one on GKE", "v1.30.5-gke.1014001", [], [both]],
    ["none on GKE if switched off", "v1.30.5-gke.1014001", ["resourceQuota.enabled=false"], []],
    ["one if switched on", "1.20.2", ["resourceQuota.enabled=true"], [both]],
    [
      "one with the configured number of pods",
      "1.30.0",
      ["resourceQuota.enabled=true", "resourceQuota.pods=100"],
      [quotaOf("100", NODE_CRITICAL, CLUSTER_CRITICAL)],
    ],
    [
      "one for the classes in use",
      "1.30.0",
      ["resourceQuota.enabled=true", "controller.priorityClassName="],
      [quotaOf("20k", NODE_CRITICAL)],
    ],
    [
      "none without priority classes",
      "1.30.0",
      ["resourceQuota.enabled=true", "agent.priorityClassName=", "controller.priorityClassName="],
      [],
    ],
  ])("have a quota: %s", async (_name, version, values, expected) => {
    expect(await quota(version, ...values)).toEqual(expected);
  });
});

describe("SELinux", () => {
  const optionsOf = async (...values: string[]) => {
    const containers = Object.values(pods(await render("1.30.0", ...values))).flatMap(
      (pod) => pod.containers,
    );
    return Object.fromEntries(
      containers.map(({ name, securityContext }) => [name, securityContext.seLinuxOptions]),
    );
  };
  const sections = ["agent", "userspaceDatapath", "cni"];

  it("has type spc_t for pods that change the node, and for no others", async () => {
    const privileged = { type: "spc_t" };
    expect(await optionsOf()).toEqual({
      agent: privileged,
      installer: privileged,
      datapath: privileged,
      controller: undefined,
      release: undefined,
    });
  });

  it("can have other options, or none, for each of these pods", async () => {
    const values = [
      "agent.seLinuxOptions.type=agent_t",
      "userspaceDatapath.seLinuxOptions.level=s0",
      "cni.seLinuxOptions=null",
    ];
    expect(await optionsOf(...values)).toMatchObject({
      agent: { type: "agent_t" },
      datapath: { type: "spc_t", level: "s0" },
      installer: undefined,
    });
    const none = await optionsOf(...sections.map((section) => `${section}.seLinuxOptions=null`));
    expect(Object.values(none)).toEqual([undefined, undefined, undefined, undefined, undefined]);
  });
});

describe("a PodDisruptionBudget", () => {
  it.each([
    ["v1.20.2", "policy/v1beta1", undefined],
    ["v1.21.0", "policy/v1", undefined],
    ["v1.26.15-eks-a5565ad", "policy/v1", undefined],
    ["v1.27.0-gke.1", "policy/v1", "AlwaysAllow"],
    ["v1.27.3+k3s1", "policy/v1", "AlwaysAllow"],
    ["v1.36.2", "policy/v1", "AlwaysAllow"],
  ])("on %s has %s and unhealthyPodEvictionPolicy %s", async (version, api, policy) => {
    const [budget, ...more] = only(await render(version), "PodDisruptionBudget");
    expect(more).toEqual([]);
    expect(budget?.apiVersion).toBe(api);
    expect(budget?.spec.unhealthyPodEvictionPolicy).toBe(policy);
  });
});

it("sets resource requests for every container, so that pods pass a quota of resources", async () => {
  const containers = Object.values(pods(await render("1.30.0"))).flatMap((pod) => pod.containers);
  expect(containers.map(({ name }) => name).sort()).toEqual(
    ["agent", "controller", "datapath", "installer", "release"].sort(),
  );
  for (const { resources } of containers) {
    expect(resources).toMatchObject({
      requests: { cpu: expect.any(String), memory: expect.any(String) },
      limits: { memory: expect.any(String) },
    });
  }
});

describe("values", () => {
  it.each([
    ["resourceQuota.enabled=maybe", /resourceQuota\.enabled/],
    ["resourceQuota.pods=many", /resourceQuota\.pods/],
    ["agent.seLinuxOptions.typ=spc_t", /Additional property typ/],
    ["cni.seLinuxOptions=spc_t", /cni\.seLinuxOptions/],
    ["controller.priorityClassName=1", /controller\.priorityClassName/],
  ])("refuse %s", async (value, message) => {
    const { stderr, status } = await cluster.helm("template", RELEASE, CHART, "--set", value);
    expect(stderr).toMatch(message);
    expect(status).not.toBe(0);
  });
});

describe("Pod Security", () => {
  const LABEL = /kubectl label .*namespace (\S+) pod-security\.kubernetes\.io\/enforce=privileged/;

  it.each(["README.md", "docs/install.md"])("%s labels the namespace first", (file) => {
    const text = readFileSync(`${ROOT}${file}`, "utf8");
    const [before = "", ...after] = text.split(/^ *helm install l2tp-cni /m);
    expect(after.length).toBeGreaterThan(0);
    expect(before).toMatch(LABEL);
  });

  it("the notes label the namespace, and say how to check that pods run", async () => {
    const where = ["--namespace", "elsewhere", "--dry-run"];
    const { stdout, stderr, status } = await cluster.helm("install", "other", CHART, ...where);
    expect(status, stderr).toBe(0);
    const [, notes = ""] = stdout.split("\nNOTES:\n");
    expect(LABEL.exec(notes)?.[1]).toBe("elsewhere");
    expect(notes).toContain("rollout status daemonset/other-l2tp-cni-agent");
    expect(notes).toContain("get daemonsets,deployments");
    expect(notes).toContain("get events --field-selector reason=FailedCreate");
  });
});
