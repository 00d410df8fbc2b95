/** Calls the CNI plugin as a runtime does. */
import { fileURLToPath } from "node:url";
import { type Host, inside } from "./net.ts";
import { type Output, tryRun } from "./run.ts";

export const PLUGIN = fileURLToPath(new URL("../../dist/l2tp", import.meta.url));
/** Folder of the reference plugins (Debian's package containernetworking-plugins). */
export const REFERENCE_PLUGINS = "/usr/lib/cni";

export interface CniCall {
  readonly command: string;
  readonly config: unknown;
  readonly containerId?: string;
  readonly netns?: string;
  readonly ifname?: string;
  /** "namespace/name". */
  readonly pod?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** The plugin to call; the default is l2tp-cni's. */
  readonly program?: string;
}

export interface CniAnswer extends Output {
  // biome-ignore lint/suspicious/noExplicitAny: a plugin can answer anything
  readonly json: any;
}

export function cniEnvironment(call: CniCall): NodeJS.ProcessEnv {
  const [namespace, name] = (call.pod ?? "").split("/");
  return {
    PATH: process.env.PATH,
    CNI_COMMAND: call.command,
    CNI_CONTAINERID: call.containerId ?? "c1",
    CNI_NETNS: call.netns ?? "",
    CNI_IFNAME: call.ifname ?? "net1",
    CNI_PATH: REFERENCE_PLUGINS,
    ...(call.pod === undefined
      ? {}
      : { CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=${namespace};K8S_POD_NAME=${name}` }),
    ...call.env,
  };
}

/** Calls a plugin in the host's namespace. */
export async function cni(host: Host, call: CniCall): Promise<CniAnswer> {
  const output = await tryRun(inside(host.name, call.program ?? PLUGIN), {
    input: typeof call.config === "string" ? call.config : JSON.stringify(call.config),
    env: cniEnvironment(call),
  });
  let json: unknown;
  try {
    json = output.stdout === "" ? null : JSON.parse(output.stdout);
  } catch {
    json = null;
  }
  return { ...output, json };
}
