/** Our place in the network configuration of a node (CNI specification, section 1). Pure. */

import { CNI_VERSIONS } from "../agent-protocol.ts";

interface Plugin {
  readonly type?: unknown;
  readonly [field: string]: unknown;
}

interface Conflist {
  readonly plugins?: unknown;
  readonly type?: unknown;
  readonly [field: string]: unknown;
}

export type Edit =
  /** What the file is to hold. */
  | { readonly do: "write"; readonly text: string }
  /** It is as it should be. */
  | { readonly do: "nothing" }
  /** It is not for us to change. */
  | { readonly do: "leave"; readonly why: string };

/** What runtimes read of a folder, in their order: the first one counts. */
export function isNetworkConfig(fileName: string): boolean {
  return /\.(conflist|conf|json)$/.test(fileName) && !fileName.startsWith(".");
}

/** How plugins are called that call others by themselves. */
const META_PLUGINS = new Set(["multus", "multus-shim", "multus-cni"]);

/** Chained last, it asks the runtime for the annotations of pods. */
export function chainedPlugin(socket: string): Plugin {
  return { type: "l2tp", capabilities: { "io.kubernetes.cri.pod-annotations": true }, socket };
}

/** Adds `plugin` to the end of the list, or brings the one that is there up to date, its other fields kept. */
export function addTo(text: string, plugin: Plugin): Edit {
  const list = parse(text);
  if (typeof list === "string") return { do: "leave", why: list };
  const { plugins } = list;
  if (plugins.some(({ type }) => META_PLUGINS.has(String(type)))) {
    const why = "Multus has the node; give pods a NetworkAttachmentDefinition with type l2tp";
    return { do: "leave", why };
  }
  const { cniVersion } = list.whole;
  // In a version that the plugin does not speak it would fail every pod.
  if (!(CNI_VERSIONS as readonly unknown[]).includes(cniVersion)) {
    const why = `its cniVersion is ${JSON.stringify(cniVersion)}; there are ${CNI_VERSIONS.join(", ")}`;
    return { do: "leave", why };
  }
  const known = plugins.findIndex(({ type }) => type === plugin.type);
  const changed =
    known < 0 ? [...plugins, plugin] : plugins.with(known, { ...plugins[known], ...plugin });
  return edit(list.whole, plugins, changed);
}

/** Takes our plugin out; the others stay as they are. */
export function removeFrom(text: string, type: unknown): Edit {
  const list = parse(text);
  if (typeof list === "string") return { do: "leave", why: list };
  const rest = list.plugins.filter((plugin) => plugin.type !== type);
  if (rest.length === 0) return { do: "leave", why: "there is no other plugin in it" };
  return edit(list.whole, list.plugins, rest);
}

function edit(whole: Conflist, before: readonly Plugin[], after: readonly Plugin[]): Edit {
  if (JSON.stringify(before) === JSON.stringify(after)) return { do: "nothing" };
  return { do: "write", text: `${JSON.stringify({ ...whole, plugins: after }, null, 2)}\n` };
}

/** The list, or why it is none. */
function parse(text: string): { whole: Conflist; plugins: readonly Plugin[] } | string {
  let whole: Conflist;
  try {
    whole = JSON.parse(text) as Conflist;
  } catch (error) {
    return `it is not JSON: ${(error as Error).message}`;
  }
  const { plugins, type } = whole;
  if (Array.isArray(plugins) && plugins.length > 0) return { whole, plugins };
  if (META_PLUGINS.has(String(type))) return { whole, plugins: [whole] };
  return "it is no list of plugins; make it one (a file .conflist with plugins: [...])";
}
