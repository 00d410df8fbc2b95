/**
 * Builds the image's root directory: Node and its libraries, the programs, and the CNI plugin. It has no shell
 * and no package manager.
 */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  globSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { basename, dirname, isAbsolute, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../", import.meta.url));
const APP = "/usr/lib/l2tp-cni";
const FFI = join(root, "linux/ffi.ts");

/** Folders and files of the programs. */
const SOURCES = [
  ...["net", "l2tp", "model", "linux", "datapath", "operator", "files", "rpc", "cli", "crds"],
  "underlay",
  ...["package.json", "LICENSE"],
];
const PROGRAMS = {
  "l2tp-agent": "operator/agent/main.js",
  "l2tp-controller": "operator/controller/main.js",
  "l2tp-install": "operator/install/main.js",
  "l2tp-datapath": "datapath/userspace/process/main.js",
  l2tpctl: "cli/main.js",
} as const;
/** Files of packages that the programs do not use. They are more than half of the API client. */
const UNUSED = /(\.map|\.d\.[cm]?ts|\.md|\.markdown)$|^\/(tests?|docs?)(\/|$)/;

/** Builds the root directory. Replaces an existing one. */
export function buildRootfs(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
  for (const folder of ["etc", "proc", "sys", "dev", "run", "var", "tmp", "usr/bin"]) {
    mkdirSync(join(directory, folder), { recursive: true });
  }
  chmodSync(join(directory, "tmp"), 0o1777);
  // Runtimes refer to network namespaces by /var/run/netns.
  symlinkSync("../run", join(directory, "var/run"));
  writeFileSync(
    join(directory, "etc/passwd"),
    "root:x:0:0:root:/:/none\nnonroot:x:65532:65532:nonroot:/:/none\n",
  );
  writeFileSync(join(directory, "etc/group"), "root:x:0:\nnonroot:x:65532:\n");
  addNode(directory);
  addSources(directory);
  addPackages(directory);
  addLibraries(directory);
  addPrograms(directory);
  const plugin = join(directory, "usr/share/l2tp-cni/l2tp");
  mkdirSync(dirname(plugin), { recursive: true });
  cpSync(join(root, "dist/l2tp"), plugin);
}

const NODE = realpathSync(join(root, `node_modules/node-linux-${process.arch}/bin/node`));

function addNode(directory: string): void {
  cpSync(NODE, join(directory, "usr/bin/node"));
}

function addSources(directory: string): void {
  for (const source of SOURCES) {
    cpSync(join(root, source), join(directory, APP, source), {
      recursive: true,
      filter: (path) => !/\.test\.ts$|testdata\.ts$|fake-.*\.ts$|\/(generate|testing)$/.test(path),
    });
  }
  for (const file of globSync("**/*.ts", { cwd: join(directory, APP) })) {
    compile(join(directory, APP, file));
  }
}

/**
 * Replaces a TypeScript file by its JavaScript, with Node's own type stripping. Loading the compiler would cost
 * each process 12 MiB of memory.
 */
function compile(path: string): void {
  const script = stripTypeScriptTypes(readFileSync(path, "utf8"));
  // Imports and programs of threads have relative paths.
  const renamed = script.replace(/(["'])(\.{1,2}\/[^"'\n]+)\.ts\1/g, "$1$2.js$1");
  writeFileSync(path.replace(/\.ts$/, ".js"), renamed);
  rmSync(path);
}

/** Adds the production packages, and the FFI library's binary for this architecture. */
function addPackages(directory: string): void {
  const list = execFileSync(
    "npm",
    ["ls", "--omit=dev", "--omit=optional", "--all", "--parseable", "--loglevel=silent"],
    { cwd: root, encoding: "utf8" },
  );
  const found = list
    .trim()
    .split("\n")
    .filter((path) => path.includes("node_modules"));
  const native = join(root, `node_modules/@koromix/koffi-linux-${process.arch}`);
  const packages = [...new Set([...found, native])].filter((path) => existsSync(path));
  for (const path of packages) {
    const target = join(directory, APP, relative(root, path));
    cpSync(path, target, {
      recursive: true,
      dereference: true,
      filter: (file) => !UNUSED.test(file.slice(path.length)),
    });
  }
}

/** Script that loads the FFI library, and prints the process's shared objects. */
const REPORT = `
  await import(process.argv[1]);
  process.report.excludeNetwork = true;
  console.log(JSON.stringify(process.report.getReport().sharedObjects));
`;

/** Adds the system libraries that Node and the FFI library load, at the same paths. */
function addLibraries(directory: string): void {
  const report = execFileSync(NODE, ["--input-type=module", "--eval", REPORT, FFI], {
    encoding: "utf8",
    // No LD_PRELOAD, no NODE_OPTIONS.
    env: {},
  });
  const objects = JSON.parse(report) as readonly string[];
  const libraries = objects.filter((path) => isAbsolute(path) && !path.startsWith(root));
  for (const library of libraries) {
    const target = join(directory, library);
    mkdirSync(dirname(target), { recursive: true });
    cpSync(realpathSync(library), target);
  }
}

/** Adds the programs as Node scripts, because the image has no shell. */
function addPrograms(directory: string): void {
  for (const [name, source] of Object.entries(PROGRAMS)) {
    const path = join(directory, "usr/bin", name);
    // Node needs the extension .mjs; users call the name without it. The kernel passes one argument of the
    // first line: the flag that keeps SIGUSR1 from opening an inspector.
    writeFileSync(
      `${path}.mjs`,
      `#!/usr/bin/node --disable-sigusr1\nimport "${APP}/${source}";\n`,
      { mode: 0o755 },
    );
    symlinkSync(`${basename(path)}.mjs`, path);
  }
}
