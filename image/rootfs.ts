/**
 * The image's root directory: Node, the libraries that it loads, the programs, and the CNI plugin to
 * install. No shell, no package manager.
 */
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../", import.meta.url));
const APP = "/usr/lib/l2tp-cni";

/** What the programs are made of. */
const SOURCES = [
  ...["net", "l2tp", "model", "linux", "datapath", "operator", "files", "rpc", "cli", "crds"],
  "underlay",
  ...["package.json", "LICENSE"],
];
const PROGRAMS = {
  "l2tp-agent": "operator/agent/main.ts",
  "l2tp-controller": "operator/controller/main.ts",
  "l2tp-install": "operator/install/main.ts",
  "l2tp-datapath": "datapath/userspace/process/main.ts",
  l2tpctl: "cli/main.ts",
} as const;
/** Nobody reads these in an image; of the API client's generated half they are most. */
const UNUSED = /(\.map|\.d\.[cm]?ts|\.md|\.markdown)$|^\/(tests?|docs?)(\/|$)/;

export function buildRootfs(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
  for (const folder of ["etc", "proc", "sys", "dev", "run", "var", "tmp", "usr/bin"]) {
    mkdirSync(join(directory, folder), { recursive: true });
  }
  chmodSync(join(directory, "tmp"), 0o1777);
  // Runtimes name network namespaces by the old path.
  symlinkSync("../run", join(directory, "var/run"));
  writeFileSync(
    join(directory, "etc/passwd"),
    "root:x:0:0:root:/:/none\nnonroot:x:65532:65532:nonroot:/:/none\n",
  );
  writeFileSync(join(directory, "etc/group"), "root:x:0:\nnonroot:x:65532:\n");
  addNode(directory);
  addSources(directory);
  const packages = addPackages(directory);
  addLibraries(directory, [join(directory, "usr/bin/node"), ...nativeModules(packages)]);
  addPrograms(directory);
  const plugin = join(directory, "usr/share/l2tp-cni/l2tp");
  mkdirSync(dirname(plugin), { recursive: true });
  cpSync(join(root, "dist/l2tp"), plugin);
}

function addNode(directory: string): void {
  const node = realpathSync(join(root, `node_modules/node-linux-${process.arch}/bin/node`));
  cpSync(node, join(directory, "usr/bin/node"));
}

function addSources(directory: string): void {
  for (const source of SOURCES) {
    cpSync(join(root, source), join(directory, APP, source), {
      recursive: true,
      filter: (path) => !/\.test\.ts$|testdata\.ts$|fake-.*\.ts$|\/(generate|testing)$/.test(path),
    });
  }
}

/** The packages that run in production, and the FFI library's part for this architecture. */
function addPackages(directory: string): string[] {
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
  return packages;
}

function nativeModules(packages: readonly string[]): string[] {
  return packages
    .filter((path) => path.includes("@koromix"))
    .flatMap((path) =>
      execFileSync("find", [path, "-name", "*.node"], { encoding: "utf8" }).trim().split("\n"),
    );
}

/** The libraries that the files load, at the places where these look for them. */
function addLibraries(directory: string, files: readonly string[]): void {
  const libraries = new Set<string>();
  for (const file of files) {
    const output = execFileSync("ldd", [file], { encoding: "utf8" });
    for (const [, library = ""] of output.matchAll(/(?:=> )?(\/\S+) \(0x/g)) libraries.add(library);
  }
  for (const library of libraries) {
    const target = join(directory, library);
    if (existsSync(target)) continue;
    mkdirSync(dirname(target), { recursive: true });
    cpSync(realpathSync(library), target);
  }
}

/** Without a shell, each is a script of Node's. */
function addPrograms(directory: string): void {
  for (const [name, source] of Object.entries(PROGRAMS)) {
    const path = join(directory, "usr/bin", name);
    // Its extension tells Node what is in it; its name without one is for people. The kernel passes
    // one argument of the first line: the one that keeps SIGUSR1 from opening an inspector.
    writeFileSync(
      `${path}.mjs`,
      `#!/usr/bin/node --disable-sigusr1\nimport "${APP}/${source}";\n`,
      { mode: 0o755 },
    );
    symlinkSync(`${basename(path)}.mjs`, path);
  }
}
