/** Puts the CNI plugin on a node, and into its network configuration; takes both away again. */
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

export interface InstallPaths {
  /** The plugin as it came with us. */
  readonly plugin: string;
  /** /opt/cni/bin of the node. */
  readonly binaries: string;
  /** /etc/cni/net.d of the node. */
  readonly configs: string;
  /** The agent's socket as the node has it. */
  readonly socket: string;
}

/** The plugin's name is its type in a network configuration. */
const NAME = "l2tp";
const PIECE_BYTES = 1024 * 1024;

/** Atomic: a runtime that calls it meanwhile has the old one or the new one. @returns whether it was new */
export function installPlugin({ plugin, binaries }: InstallPaths): boolean {
  const target = join(binaries, NAME);
  if (existsSync(target) && isSameFile(plugin, target)) return false;
  const unfinished = join(binaries, `.${NAME}${UNFINISHED}`);
  clear(unfinished);
  copyFileSync(plugin, unfinished);
  moveInto(unfinished, target);
  return true;
}

/** A piece at a time: the plugin is large, and the installer's memory is not. */
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

/** The file that counts, and what is to be done to it; null: there is none yet. */
export interface Chained {
  readonly file: string;
  readonly edit: Edit;
}

/** Chains the plugin in the configuration that runtimes use. */
export function chain({ configs, socket }: InstallPaths): Chained | null {
  const [file] = networkConfigs(configs);
  if (file === undefined) return null;
  const edit = addTo(readFileSync(join(configs, file), "utf8"), chainedPlugin(socket));
  write(configs, file, edit);
  return { file, edit };
}

/**
 * Takes the plugin out of every configuration, and then off the node, unless somebody else's configuration
 * still calls it: Multus copies what it finds into its own.
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
  // No runtime reads a name with the ending of an unfinished file.
  replaceFile(path, edit.text, statSync(path).mode & 0o777);
}
