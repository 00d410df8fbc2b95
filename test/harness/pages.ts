/** The pages of the documentation, and their blocks of code. */
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** One fenced block. */
export interface Block {
  /** The page's path from the root. */
  readonly page: string;
  /** The line of its opening fence, from 1. */
  readonly line: number;
  /** "sh", "yaml", …; "" without one. */
  readonly language: string;
  /** Words behind the language: the block's host, and "background" for a program that keeps running. */
  readonly words: readonly string[];
  /** The content, without fences and indentation. */
  readonly text: string;
  /** The page's reason why no test runs the block; null: a test runs it. */
  readonly notRun: string | null;
}

/** A page whose shell blocks a suite runs. */
export interface RunPage {
  readonly page: string;
  readonly suite: Suite;
  /** Replacements for the page's examples. */
  readonly replace?: readonly (readonly [from: string, to: string])[];
}

export type Suite =
  | "test/cluster/documentation.test.ts"
  | "test/kernel/documentation.test.ts"
  | "test/netns/demo.test.ts"
  | "test/netns/documentation.test.ts"
  | "test/netns/interface-page.test.ts";

/** The test cluster has no registry, and one version of the image. */
const IMAGES = [["busybox:1.36", "localhost/busybox:1"]] as const;
/** Options for an old API server: see docs/install-options.md. */
const OLD_API_SERVER = [
  ["--server-side --force-conflicts --filename crds/", "--validate=false --filename crds/"],
] as const;
/** In a box the folder is a mount point, which cannot be removed. */
const MOUNTED = [["rm -r /etc/l2tp-cni ", "rm -r /etc/l2tp-cni/* "]] as const;
const CLUSTER = "test/cluster/documentation.test.ts";
const KERNEL = "test/kernel/documentation.test.ts";

/**
 * Pages by suite, in the order of execution. A block without a host runs on the cluster, "demo" marks the
 * demonstrations, and other names are hosts of the suite.
 */
export const RUN_PAGES: readonly RunPage[] = [
  { page: "README.md", suite: "test/netns/demo.test.ts" },
  { page: "docs/try.md", suite: "test/netns/demo.test.ts" },
  { page: "README.md", suite: CLUSTER, replace: IMAGES },
  { page: "docs/install.md", suite: CLUSTER },
  { page: "docs/pods.md", suite: CLUSTER, replace: IMAGES },
  { page: "docs/conditions.md", suite: CLUSTER },
  { page: "docs/operations.md", suite: CLUSTER },
  { page: "docs/troubleshooting.md", suite: CLUSTER },
  { page: "docs/l2tpctl.md", suite: CLUSTER },
  { page: "docs/upgrade.md", suite: CLUSTER, replace: OLD_API_SERVER },
  { page: "docs/far-end.md", suite: KERNEL },
  { page: "docs/edge.md", suite: KERNEL, replace: MOUNTED },
  { page: "docs/managed.md", suite: "test/netns/documentation.test.ts" },
  { page: "docs/backups.md", suite: "test/netns/documentation.test.ts" },
  { page: "docs/interfaces.md", suite: "test/netns/interface-page.test.ts" },
];

/** Places of blocks other than a suite's hosts. */
export const SUITE_OF_PLACE: Readonly<Record<string, Suite>> = {
  "": CLUSTER,
  demo: "test/netns/demo.test.ts",
};

/** All pages, by their path from the root. */
export function pages(): string[] {
  const docs = readdirSync(`${ROOT}docs`, { recursive: true, encoding: "utf8" });
  return [
    "README.md",
    "CONTRIBUTING.md",
    ...docs.filter((path) => path.endsWith(".md")).map((path) => `docs/${path}`),
  ].sort();
}

export const readPage = (page: string): string => readFileSync(`${ROOT}${page}`, "utf8");

const FENCE = /^( *)```(.*)$/;
const NOT_RUN = /^ *> (Not run by the tests\b.*)$/;

/** @throws if a fence is not closed */
export function blocksOf(page: string): Block[] {
  const lines = readPage(page).split("\n");
  const blocks: Block[] = [];
  for (let index = 0; index < lines.length; index++) {
    const [, indentation, info = ""] = FENCE.exec(lines[index] ?? "") ?? [];
    if (indentation === undefined) continue;
    const end = lines.indexOf(`${indentation}\`\`\``, index + 1);
    if (end < 0) throw new Error(`${page}:${index + 1}: the block is not closed`);
    const [language = "", ...words] = info.split(" ");
    const body = lines.slice(index + 1, end).map((line) => line.slice(indentation.length));
    blocks.push({
      ...{ page, line: index + 1, language, words },
      text: `${body.join("\n")}\n`,
      notRun: markBefore(lines, index),
    });
    index = end;
  }
  return blocks;
}

/** The reason of a "Not run by the tests" paragraph directly in front of the block. */
function markBefore(lines: readonly string[], fence: number): string | null {
  let index = fence - 1;
  while (lines[index]?.trim() === "") index--;
  while (index > 0 && /^ *> /.test(lines[index - 1] ?? "")) index--;
  return NOT_RUN.exec(lines[index] ?? "")?.[1] ?? null;
}

/** The shell blocks of a page that its suite runs. */
export function runnableBlocks({ page, suite, replace = [] }: RunPage): Block[] {
  return blocksOf(page)
    .filter(({ language, notRun, words: [place = ""] }) => {
      const isHost = SUITE_OF_PLACE[place] === undefined;
      return language === "sh" && notRun === null && (isHost || SUITE_OF_PLACE[place] === suite);
    })
    .map((block) => {
      const text = replace.reduce((so, [from, to]) => so.replaceAll(from, to), block.text);
      return { ...block, text };
    });
}

/** The pages of a suite. */
export const pagesOf = (suite: Suite): readonly RunPage[] =>
  RUN_PAGES.filter((item) => item.suite === suite);
