/**
 * Access through Kubernetes' client library, for credential plugins (`exec`), authentication providers and
 * proxies. The library is loaded at the first request, because it costs 66 MiB of memory.
 */
import type http from "node:http";
import type https from "node:https";
import type { KubeConfig } from "@kubernetes/client-node";
import type { ClusterAccess } from "./access.ts";

/** The current context, for the library. */
export interface LibraryAccess {
  readonly server: URL;
  readonly isProxied: boolean;
  /** The entries of a kubeconfig, with absolute paths. */
  readonly cluster: Readonly<Record<string, unknown>>;
  readonly user: Readonly<Record<string, unknown>>;
  /** Separate, because the library does not support the field. */
  readonly tokenFile: string | undefined;
  /** Headers in addition to the library's. */
  readonly headers: Readonly<Record<string, string | string[]>>;
}

/** Creates access by the library. */
export function libraryAccess(access: LibraryAccess): ClusterAccess {
  const { server, isProxied, headers } = access;
  let loading: Promise<KubeConfig> | undefined;
  return {
    server,
    isProxied,
    async requestOptions() {
      loading ??= load(access);
      const options: https.RequestOptions = {};
      await (await loading).applyToHTTPSOptions(options);
      options.headers = { ...(options.headers as http.OutgoingHttpHeaders), ...headers };
      return options;
    },
  };
}

async function load({ cluster, user, tokenFile }: LibraryAccess): Promise<KubeConfig> {
  const { KubeConfig } = await import("@kubernetes/client-node");
  const provider =
    tokenFile === undefined || user["auth-provider"] !== undefined
      ? {}
      : { "auth-provider": { name: "tokenFile", config: { tokenFile } } };
  const config = new KubeConfig();
  const name = "current";
  config.loadFromString(
    JSON.stringify({
      "current-context": name,
      contexts: [{ name, context: { cluster: name, user: name } }],
      clusters: [{ name, cluster }],
      users: [{ name, user: { ...user, ...provider } }],
    }),
  );
  return config;
}
