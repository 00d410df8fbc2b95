/** Installs the CNI plugin on a node, chains it in the network configuration, and uninstalls it. */
import {
  closeSync,
  copyFileSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
} from "node:fs";
import { join } from "node:path";
import { clear, moveInto, replaceFile, UNFINISHED } from "../../files/replace-file.ts";
import { addTo, chainedPlugin, type Edit, isNetworkConfig, removeFrom } from "./conflist.ts";

/** Paths of an installation. */
export interface InstallPaths {
  /** Plugin executable in the image. */
  readonly plugin: string;
  /** /opt/cni/bin of the node. */
  readonly binaries: string;
  /** /etc/cni/net.d of the node. */
  readonly configs: string;
  /** Path of the agent's socket on the node. */
  readonly socket: string;
}

/** The plugin's name is its type in a network configuration. */
const NAME = "l2tp";
const PIECE_BYTES = 1024 * 1024;

/** Replaces the plugin atomically, so that a runtime can call it meanwhile. @returns true if it has changed */
export function installPlugin({ plugin, binaries }: InstallPaths): boolean {
  const target = join(binaries, NAME);
  if (existsSync(target) && isSameFile(plugin, target)) return false;
  const unfinished = join(binaries, `.${NAME}${UNFINISHED}`);
  clear(unfinished);
  copyFileSync(plugin, unfinished);
  moveInto(unfinished, target);
  return true;
}

/** Compares piece by piece, because the plugin is large and the installer's memory limit is small. */
function isSameFile(one: string, other: string): boolean {
  if (!statSync(other).isFile() || statSync(one).size !== statSync(other).size) return false;
  const files = [openSync(one, "r"), openSync(other, "r")] as const;
  try {
    const [a, b] = [Buffer.alloc(PIECE_BYTES), Buffer.alloc(PIECE_BYTES)];
    for (;;) {
      const length = readSync(files[0], a);
      if (readSync(files[1], b) !== length) return false;
      if (!a.subarray(0, length).equals(b.subarray(0, length))) return false;
      if (length === 0) return true;
    }
  } finally {
    for (const file of files) closeSync(file);
  }
}

/** The first network configuration, and the edit of it. */
export interface Chained {
  readonly file: string;
  readonly edit: Edit;
}

/** Chains the plugin in the configuration that runtimes use. @returns null if there is no configuration */
export function chain({ configs, socket }: InstallPaths): Chained | null {
  const [file] = networkConfigs(configs);
  if (file === undefined) return null;
  const edit = addTo(readFileSync(join(configs, file), "utf8"), chainedPlugin(socket));
  write(configs, file, edit);
  return { file, edit };
}

/**
 * Removes the plugin from every configuration. Deletes the executable, unless another configuration still uses
 * it: Multus copies the plugin list into its own configuration.
 * @returns the changed files, and the files that still use the plugin
 */
export function uninstall({ binaries, configs }: InstallPaths): {
  readonly changed: readonly string[];
  readonly stillIn: readonly string[];
} {
  const files = networkConfigs(configs);
  const read = (file: string) => readFileSync(join(configs, file), "utf8");
  const changed = files.filter((file) => {
    const edit = removeFrom(read(file), NAME);
    write(configs, file, edit);
    return edit.do === "write";
  });
  const stillIn = files.filter((file) => new RegExp(`"type"\\s*:\\s*"${NAME}"`).test(read(file)));
  if (stillIn.length === 0) rmSync(join(binaries, NAME), { force: true });
  return { changed, stillIn };
}

function networkConfigs(folder: string): string[] {
  return readdirSync(folder).filter(isNetworkConfig).sort();
}

function write(folder: string, file: string, edit: Edit): void {
  if (edit.do !== "write") return;
  const path = join(folder, file);
  // Runtimes do not read names with the suffix of an unfinished file.
  replaceFile(path, edit.text, statSync(path).mode & 0o777);
}
