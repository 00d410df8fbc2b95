import { defineConfig } from "vitest/config";

/** Suites that need root, namespaces or other programs run one file after the other. */
const system = (name: string, timeoutMs: number) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    fileParallelism: false,
    testTimeout: timeoutMs,
    hookTimeout: timeoutMs,
  },
});

/** Again what carries frames, in a datapath that joins and cuts none. */
const withoutOffload = (timeoutMs: number) => {
  const { test } = system("plain", timeoutMs);
  const include = ["test/peer/**/*.test.ts", "test/netns/{datapath,fuzz}.test.ts"];
  return { test: { ...test, include, env: { L2TP_DATAPATH_OFFLOAD: "off" } } };
};

/** One cluster for all files. */
const cluster = (name: string, timeoutMs: number) => {
  const { test } = system(name, timeoutMs);
  return { test: { ...test, globalSetup: "test/cluster/setup.ts" } };
};

export default defineConfig({
  test: {
    projects: [
      { test: { name: "unit", include: ["{l2tp,datapath,operator,cni,cli,rpc}/**/*.test.ts"] } },
      system("netns", 60_000),
      system("peer", 120_000),
      withoutOffload(120_000),
      // Against the API server of test/kube/crd-server.
      system("crds", 60_000),
      // On the cluster of test/kube/kube-cluster.
      cluster("cluster", 300_000),
      // Inside the virtual machine of test/vm.
      system("kernel", 180_000),
    ],
  },
});
