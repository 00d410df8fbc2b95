/**
 * Checks the structure of the source: imports follow CONTRIBUTING's table, and neither files nor folders import each
 * other in a cycle, types included. Prints how many files know of one idea; fails above a target.
 */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

export type Graph = ReadonlyMap<string, ReadonlySet<string>>;

/** The folders that each folder may import besides itself, by CONTRIBUTING's table. */
export type Arrows = ReadonlyMap<string, ReadonlySet<string>>;

/** One idea, and the files that may know of it. */
interface Count {
  readonly idea: string;
  readonly pattern: RegExp;
  /** Files that are not counted. */
  readonly home: RegExp;
  readonly target: number;
}

/** Generated files and documentation name every kind. */
const NOT_COUNTED = /generated\.ts$|\/generate\/|^operator\/api\/|^cni\/reference\.ts$/;

const COUNTS: readonly Count[] = [
  {
    idea: 'files with "Kernel" or "Userspace" outside datapath/',
    pattern: /"(Kernel|Userspace)"/,
    home: /^datapath\//,
    target: 0,
  },
  {
    idea: "files that know of halves outside managed-kernel/",
    pattern:
      /halves\b|Halves\b|Half\b|\bhalfName|(control|kernel|kernel's) half|wholeName|handsOver|HandedOver|asOne\b|:control"/,
    home: /^datapath\/managed-kernel\/|^net\//,
    target: 0,
  },
  {
    idea: 'files with "Bridge" or "Direct" outside attachments/',
    pattern: /"(Bridge|Direct)"/,
    home: /^model\/attachments\//,
    target: 0,
  },
  {
    idea: "files with fastPath outside fastpath/",
    pattern: /fastPath/,
    home: /\/fastpath\//,
    target: 4,
  },
  {
    idea: "files with pseudowire type numbers outside pseudowires/",
    pattern: /\b[pP]seudowireType: \d|PseudowireType\.Ethernet|\bETHERNET = 5|Ethernet: 5/,
    home: /^model\/pseudowires\//,
    target: 0,
  },
];

if (import.meta.main) main();

function main(): void {
  const files = sourceFiles();
  const graph = importGraph(files);
  const arrows = readArrows(readFileSync(join(ROOT, "CONTRIBUTING.md"), "utf8"));
  const problems = forbiddenImports(graph, arrows);
  const count = (idea: string, found: readonly string[], target: number) => {
    console.log(`${String(found.length).padStart(4)} of at most ${target}: ${idea}`);
    if (found.length > target) problems.push(`${idea}: ${found.join(", ")}`);
  };
  const circles = (of: Graph) => cycles(of).map((circle) => circle.join(" "));
  count("cycles of folders", circles(folderGraph(graph)), 0);
  count("cycles of files", circles(graph), 0);
  count("names that several files export", doubleExports(files), 0);
  for (const { idea, pattern, home, target } of COUNTS) {
    const knowing = files.filter(
      (file) => !home.test(file) && !NOT_COUNTED.test(file) && pattern.test(read(file)),
    );
    count(idea, knowing, target);
  }
  for (const problem of problems) console.error(problem);
  process.exitCode = problems.length === 0 ? 0 : 1;
}

/** The product's files: no tests, no support of tests. */
export function sourceFiles(): string[] {
  const listed = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], {
    cwd: ROOT,
    encoding: "utf8",
  });
  return listed
    .split("\n")
    .filter((file) => /\.ts$/.test(file) && !/^(test|image)\/|\.test\.ts$|\.config\.ts$/.test(file))
    .filter((file) => !/\/testing\/|testdata\.ts$|\/fake-[^/]*\.ts$/.test(file));
}

function read(file: string): string {
  return readFileSync(join(ROOT, file), "utf8");
}

/** The files of the project that each file imports, types included. */
function importGraph(files: readonly string[]): Graph {
  return new Map(files.map((file) => [file, new Set(importsOf(file, read(file)))]));
}

export function importsOf(file: string, text: string): string[] {
  const specifiers = text.matchAll(/\b(?:from|import)\s*\(?\s*"(\.[^"]+\.ts)"/g);
  return Array.from(specifiers, ([, path = ""]) => normalize(join(dirname(file), path)));
}

/** Names that several files declare and export; re-exports do not count. */
function doubleExports(files: readonly string[]): string[] {
  const homes = new Map<string, Set<string>>();
  const declared = /^export (?:abstract )?(?:class|function|const|interface|type|enum) (\w+)/gm;
  for (const file of files.filter((name) => !NOT_COUNTED.test(name))) {
    for (const [, name = ""] of read(file).matchAll(declared)) {
      homes.set(name, (homes.get(name) ?? new Set()).add(file));
    }
  }
  return Array.from(homes).flatMap(([name, where]) =>
    where.size > 1 ? `${name} (${[...where].join(" ")})` : [],
  );
}

function folderGraph(files: Graph): Graph {
  const folders = new Map<string, Set<string>>();
  for (const [file, imported] of files) {
    const from = dirname(file);
    const to = folders.get(from) ?? new Set();
    for (const other of imported) if (dirname(other) !== from) to.add(dirname(other));
    folders.set(from, to);
  }
  return folders;
}

/** Reads rows such as "| `rpc/` | what it is | `net`, `files` |". */
export function readArrows(contributing: string): Arrows {
  const rows = contributing.matchAll(/^\| (`[^|]+\/`[^|]*) \|[^|]*\| ([^|]*) \|$/gm);
  const names = (cell: string) => Array.from(cell.matchAll(/`([^`]+)`/g), ([, name = ""]) => name);
  const arrows = new Map<string, ReadonlySet<string>>();
  for (const [, folders = "", imported = ""] of rows) {
    const allowed = new Set(names(imported).map((name) => name.replace(/\/$/, "")));
    for (const folder of names(folders)) arrows.set(folder.replace(/\/$/, ""), allowed);
  }
  return arrows;
}

/** The row of a file: the longest folder that contains it. */
function rowOf(file: string, arrows: Arrows): string | undefined {
  const rows = [...arrows.keys()].filter((folder) => file.startsWith(`${folder}/`));
  return rows.sort((a, b) => b.length - a.length)[0];
}

export function forbiddenImports(graph: Graph, arrows: Arrows): string[] {
  const problems: string[] = [];
  for (const [file, imported] of graph) {
    const row = rowOf(file, arrows);
    if (row === undefined) problems.push(`${file}: CONTRIBUTING's table has no row for its folder`);
    for (const other of imported) {
      const target = rowOf(other, arrows);
      if (row === undefined || target === row) continue;
      if (target !== undefined && arrows.get(row)?.has(target)) continue;
      problems.push(`${file} imports ${other}, and CONTRIBUTING's table does not allow that`);
    }
  }
  return problems;
}

/** The strongly connected components of more than one node (Tarjan, 1972). */
export function cycles(graph: Graph): string[][] {
  const index = new Map<string, number>();
  const low = new Map<string, number>();
  const stack: string[] = [];
  const found: string[][] = [];
  const visit = (node: string): number => {
    const own = index.size;
    index.set(node, own);
    low.set(node, own);
    stack.push(node);
    for (const next of graph.get(node) ?? []) {
      const known = index.get(next);
      const reached = known === undefined ? visit(next) : stack.includes(next) ? known : own;
      low.set(node, Math.min(low.get(node) ?? own, reached));
    }
    const lowest = low.get(node) ?? own;
    if (lowest === own) {
      const component = stack.splice(stack.indexOf(node));
      if (component.length > 1) found.push(component.sort());
    }
    return lowest;
  };
  for (const node of graph.keys()) if (!index.has(node)) visit(node);
  return found;
}
