/** Adds the plugin to the network configuration of a node, and removes it (CNI specification, section 1). Pure. */

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
  /** Write the file with this content. */
  | { readonly do: "write"; readonly text: string }
  /** The file is up to date. */
  | { readonly do: "nothing" }
  /** The installer must not change the file. */
  | { readonly do: "leave"; readonly why: string };

/** True if runtimes read a file of this name. They use the first file by name. */
export function isNetworkConfig(fileName: string): boolean {
  return /\.(conflist|conf|json)$/.test(fileName) && !fileName.startsWith(".");
}

/** Types of plugins that call other plugins. */
const META_PLUGINS = new Set(["multus", "multus-shim", "multus-cni"]);

/** Returns the plugin's entry in a plugin list. The capability requests the pod's annotations. */
export function chainedPlugin(socket: string): Plugin {
  return { type: "l2tp", capabilities: { "io.kubernetes.cri.pod-annotations": true }, socket };
}

/** Adds `plugin` to the end of the list, or updates an existing entry, whose other fields stay. */
export function addTo(text: string, plugin: Plugin): Edit {
  const list = parse(text);
  if (typeof list === "string") return { do: "leave", why: list };
  const { plugins } = list;
  if (plugins.some(({ type }) => META_PLUGINS.has(String(type)))) {
    const why = "Multus manages this node; use a NetworkAttachmentDefinition with type l2tp";
    return { do: "leave", why };
  }
  const { cniVersion } = list.whole;
  // With a version that the plugin does not support, every pod would fail.
  if (!(CNI_VERSIONS as readonly unknown[]).includes(cniVersion)) {
    const why = `unsupported cniVersion ${JSON.stringify(cniVersion)}; supported: ${CNI_VERSIONS.join(", ")}`;
    return { do: "leave", why };
  }
  const known = plugins.findIndex(({ type }) => type === plugin.type);
  const changed =
    known < 0 ? [...plugins, plugin] : plugins.with(known, { ...plugins[known], ...plugin });
  return edit(list.whole, plugins, changed);
}

/** Removes the entries of `type`; the other plugins stay. */
export function removeFrom(text: string, type: unknown): Edit {
  const list = parse(text);
  if (typeof list === "string") return { do: "leave", why: list };
  const rest = list.plugins.filter((plugin) => plugin.type !== type);
  if (rest.length === 0) return { do: "leave", why: "the list has no other plugin" };
  return edit(list.whole, list.plugins, rest);
}

function edit(whole: Conflist, before: readonly Plugin[], after: readonly Plugin[]): Edit {
  if (JSON.stringify(before) === JSON.stringify(after)) return { do: "nothing" };
  return { do: "write", text: `${JSON.stringify({ ...whole, plugins: after }, null, 2)}\n` };
}

/** Returns the plugin list, or the reason why the text is not a list. */
function parse(text: string): { whole: Conflist; plugins: readonly Plugin[] } | string {
  let whole: Conflist;
  try {
    whole = JSON.parse(text) as Conflist;
  } catch (error) {
    return `not JSON: ${(error as Error).message}`;
  }
  const { plugins, type } = whole;
  if (Array.isArray(plugins) && plugins.length > 0) return { whole, plugins };
  if (META_PLUGINS.has(String(type))) return { whole, plugins: [whole] };
  return "not a plugin list; convert it to a .conflist file with plugins: [...]";
}
