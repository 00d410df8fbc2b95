import { defineConfig } from "vitest/config";

/**
 * Suites that require root, namespaces or other programs run one file at a time. The timeout is for
 * hanging tests: on a busy machine, a test can take ten times as long as on an idle one.
 */
const system = (name: string, timeoutMs: number) => ({
  test: {
    name,
    include: [`test/${name}/**/*.test.ts`],
    fileParallelism: false,
    testTimeout: timeoutMs,
    hookTimeout: timeoutMs,
  },
});

/** Suites that run again with another datapath. */
const again = (name: string, timeoutMs: number, include: string[], env: Record<string, string>) => {
  const { test } = system(name, timeoutMs);
  return { test: { ...test, include, env } };
};
const CARRYING = "test/netns/{datapath,fuzz}.test.ts";

/** Files that test both datapaths. */
const BOTH =
  "test/netns/{cni-ipam,doctor,packet-capture,pod-interface,routers,tenants,types-and-modes}.test.ts";

/** Suites that share one cluster. */
const cluster = (name: string, timeoutMs: number) => {
  const { test } = system(name, timeoutMs);
  return { test: { ...test, globalSetup: "test/cluster/setup.ts" } };
};

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          testTimeout: 120_000,
          include: [
            "{net,l2tp,model,linux,datapath,operator,cni,cli,files,rpc,underlay}/**/*.test.ts",
            "test/{bench,setup}/*.test.ts",
          ],
        },
      },
      system("netns", 300_000),
      system("peer", 300_000),
      system("seams", 300_000),
      // Without segmentation and coalescing.
      again("plain", 300_000, ["test/peer/**/*.test.ts", CARRYING], {
        L2TP_DATAPATH_OFFLOAD: "off",
      }),
      // With the fast path in all tunnels that support it.
      again("fast", 300_000, ["test/netns/{agent,backup,cni,fuzz,managed,pod-interface}.test.ts"], {
        L2TP_TEST_FAST_PATH: "on",
      }),
      // Against the API server of test/kube/crd-server.
      system("crds", 300_000),
      // On the cluster of test/kube/kube-cluster.
      cluster("cluster", 600_000),
      // Inside the virtual machine of test/vm.
      again("kernel", 600_000, ["test/kernel/**/*.test.ts", BOTH], {
        L2TP_TEST_DATAPATH: "Kernel",
      }),
    ],
  },
});
