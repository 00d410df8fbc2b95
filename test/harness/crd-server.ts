/** An API server that serves custom resources only (test/kube/crd-server). */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import type { ClusterAccess } from "../../operator/kube/access.ts";
import { KubeClient } from "../../operator/kube/client.ts";
import { loadConfig } from "../../operator/kube/config.ts";
import { until } from "./wait.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const program = `${root}test/kube/crd-server/crd-server`;

export class CrdServer {
  readonly kubeconfig: string;
  readonly client: KubeClient;

  private constructor(kubeconfig: string, access: ClusterAccess) {
    this.kubeconfig = kubeconfig;
    this.client = new KubeClient(access, "test");
  }

  /** Starts the server with the project's CRDs and no objects. */
  static async start(): Promise<CrdServer> {
    CrdServer.#run("down");
    const [, kubeconfig = ""] = CrdServer.#run("up").split("KUBECONFIG=");
    const file = kubeconfig.trim();
    const server = new CrdServer(file, await loadConfig(file, process.env));
    await server.install();
    return server;
  }

  async install(): Promise<void> {
    const path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    for (const plural of ["l2tptunnels", "l2tpsessions"]) {
      const body = parse(readFileSync(`${root}crds/${plural}.yaml`, "utf8"));
      await this.client.request({ method: "POST", path, body });
      await until(`${plural} are served`, async () => {
        try {
          await this.client.get(`/apis/l2tp.dev/v1alpha1/${plural}`);
          return true;
        } catch {
          return false;
        }
      });
    }
  }

  stop(): void {
    this.client.close();
    CrdServer.#run("down");
  }

  static #run(command: string): string {
    return execFileSync(program, [command], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "inherit"],
    });
  }
}
