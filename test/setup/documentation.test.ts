/** Rules for the pages: commands are run or marked, links lead somewhere, examples are valid. */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join, normalize } from "node:path";
import { describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { describeRejection, takeIn } from "../../operator/resolve/intake.ts";
import {
  blocksOf,
  pages,
  pagesOf,
  ROOT,
  RUN_PAGES,
  readPage,
  runnableBlocks,
  SUITE_OF_PLACE,
} from "../harness/pages.ts";

const PAGES = pages();
const BLOCKS = PAGES.flatMap(blocksOf);
const RUN = RUN_PAGES.flatMap(runnableBlocks);
const at = ({ page, line }: { page: string; line: number }) => `${page}:${line}`;

describe("shell commands", () => {
  it("are run by a suite, or marked with the reason why not", () => {
    const isRun = new Set(RUN.map(at));
    const shell = BLOCKS.filter(({ language }) => language === "sh");
    expect(shell.length).toBeGreaterThan(30);
    const others = shell.filter((block) => !isRun.has(at(block)) && block.notRun === null);
    expect(others.map(at)).toEqual([]);
  });

  it("have a suite that exists and runs their place", () => {
    for (const { suite } of RUN_PAGES) expect(existsSync(`${ROOT}${suite}`), suite).toBe(true);
    for (const { words, ...block } of RUN) {
      const [place = ""] = words;
      if (SUITE_OF_PLACE[place] !== undefined) continue;
      const suites = RUN_PAGES.filter(({ page }) => page === block.page).map(({ suite }) => suite);
      const texts = suites.map((suite) => readFileSync(`${ROOT}${suite}`, "utf8"));
      expect(
        texts.some((text) => new RegExp(`\\b${place}: "`).test(text)),
        at(block),
      ).toBe(true);
    }
  });

  it("are marked with more than the word", () => {
    const marks = BLOCKS.flatMap(({ notRun }) => notRun ?? []);
    for (const mark of marks) expect(mark).toMatch(/^Not run by the tests( \w+)*: .{20}/);
  });

  it("stand in a block, not in a sentence, if they have arguments for a cluster", () => {
    const guides = PAGES.filter((page) => !page.startsWith("docs/adr/"));
    const inline = guides.flatMap((page) =>
      [...withoutBlocks(page).matchAll(/`((?:kubectl|helm) [^`]*)`/g)].map(
        ([, command = ""]) => `${page}: ${command}`,
      ),
    );
    const known = new Set(["kubectl describe pod", "kubectl apply", "helm template"]);
    expect(inline.filter((line) => !known.has(line.replace(/^[^:]*: /, "")))).toEqual([]);
  });

  it("name only targets of make and commands of l2tpctl that exist", () => {
    const text = PAGES.map(readPage).join("\n");
    const targets = [...text.matchAll(/`(?:[A-Z_]+=\S+ )?make ([a-z-]+)/g)].map(([, name]) => name);
    const makefile = readFileSync(`${ROOT}Makefile`, "utf8");
    for (const target of new Set(targets)) expect(makefile).toContain(`\n${target}:`);
    const cli = readFileSync(`${ROOT}cli/main.ts`, "utf8");
    const commands = [...text.matchAll(/`l2tpctl ([a-z]+)/g)].map(([, name]) => name);
    for (const name of new Set(commands)) expect(cli).toMatch(new RegExp(`\\("${name}"`));
  });
});

describe.each(PAGES)("%s", (page) => {
  it("has links that lead somewhere", () => {
    const links = [...withoutBlocks(page).matchAll(/\]\(([^)\s]+)\)/g)].map(
      ([, link = ""]) => link,
    );
    const broken = links.filter((link) => !/^https?:/.test(link) && !leads(page, link));
    expect(broken).toEqual([]);
  });

  it("begins with what the reader gets", () => {
    if (/^docs\/(adr|bench)\/|^README\.md$/.test(page)) return;
    expect(readPage(page)).toMatch(/^# [^\n]+\n\nYou get here: \S/);
  });

  it("has none of the words that make a sentence hard to read", () => {
    if (/^docs\/adr\/|^docs\/api\.md$|^CONTRIBUTING\.md$/.test(page)) return;
    const words =
      /\b(whoever|anew|nobody|somebody|theirs|ours|the other end|let go|stands in for)\b/gi;
    expect(withoutBlocks(page).match(words) ?? []).toEqual([]);
  });

  it("has examples that are valid", () => {
    const problems = blocksOf(page).flatMap((block) => objectsOf(block).flatMap(problemsOf(block)));
    expect(problems).toEqual([]);
  });
});

/** Objects of a YAML block, or of a shell block's here-documents. */
function objectsOf({ language, text }: { language: string; text: string }): unknown[] {
  const here = [...text.matchAll(/<<'?YAML'?\n([\s\S]*?)^ *YAML$/gm)].map(([, yaml = ""]) => yaml);
  const sources = language === "yaml" ? [text] : language === "sh" ? here : [];
  return sources.flatMap((yaml) =>
    parseAllDocuments(withoutShell(yaml)).map((document) => {
      if (document.errors.length > 0) throw document.errors[0];
      return document.toJS() as unknown;
    }),
  );
}

/** Replacements for variables and commands of the shell. */
const withoutShell = (yaml: string): string =>
  yaml.replaceAll(/\$\(address "\$\w"\)/g, "192.0.2.1").replaceAll(/\$\w+/g, "name");

const problemsOf = (block: { page: string; line: number }) => (content: unknown) => {
  const { apiVersion } = content as { apiVersion?: string };
  if (apiVersion !== "l2tp.dev/v1alpha1") return [];
  return takeIn([{ origin: at(block), content }]).rejections.map(describeRejection);
};

function withoutBlocks(page: string): string {
  return readPage(page).replaceAll(/^( *)```[\s\S]*?^\1```$/gm, "");
}

/** GitHub's anchor of a heading. */
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N} _-]/gu, "")
    .replaceAll(" ", "-");

function leads(page: string, link: string): boolean {
  const [path = "", anchor] = link.split("#");
  const target = path === "" ? page : normalize(join(dirname(page), path));
  if (!existsSync(`${ROOT}${target}`)) return false;
  if (anchor === undefined) return true;
  if (statSync(`${ROOT}${target}`).isDirectory()) return false;
  const headings = [...readPage(target).matchAll(/^#+ (.*)$/gm)].map(([, text = ""]) => text);
  return headings.some((heading) => anchorOf(heading) === anchor);
}

describe("pages and code name the same", () => {
  const source = execFileSync("git", ["ls-files", "*.ts"], { cwd: ROOT, encoding: "utf8" })
    .split("\n")
    .filter((file) => /^(operator|datapath|model)\//.test(file) && !/\.test\.ts$/.test(file))
    .map((file) => readFileSync(`${ROOT}${file}`, "utf8"))
    .join("\n");

  it("reasons of conditions and Events", () => {
    const documented = new Set(
      [...readPage("docs/conditions.md").matchAll(/^\|[^|]*\|([^|]*)\|/gm)].flatMap(
        ([, cell = ""]) => [...cell.matchAll(/`([A-Z][A-Za-z]+)`/g)].map(([, name]) => name),
      ),
    );
    const patterns = [
      /\breason: (?:[^",;]*\? )?"([A-Z]\w+)"/g,
      /RefusalError\(\s*"\w+",\s*"([A-Z]\w+)"/g,
      /^ {2}(?:E[A-Z]+|NotOurs|NoSocket): "([A-Z]\w+)",$/gm,
    ];
    const used = new Set(
      patterns.flatMap((pattern) => [...source.matchAll(pattern)].map(([, name]) => name)),
    );
    expect(used.size).toBeGreaterThan(25);
    expect([...used].filter((name) => !documented.has(name))).toEqual([]);
    expect(
      [...documented].filter(
        (name) => !new RegExp(`\\b${name}\\b`).test(source) && !MADE.has(name ?? ""),
      ),
    ).toEqual([]);
  });

  it("metrics", () => {
    const documented = readPage("docs/operations.md");
    const used = new Set([...source.matchAll(/"(l2tp_cni_\w+)"/g)].map(([, name = ""]) => name));
    expect(used.size).toBeGreaterThan(10);
    const isNamed = (name: string) => documented.includes(`\`${name}\``);
    expect([...used].filter((name) => !isNamed(name))).toEqual([]);
  });
});

/** Reasons that the code makes of parts. */
const MADE: ReadonlySet<string> = new Set(["NoKernelDatapath", "NoUserspaceDatapath"]);

it("the systemd unit of docs/edge.md is whole", () => {
  const [unit = ""] = pagesOf("test/kernel/documentation.test.ts")
    .flatMap(runnableBlocks)
    .flatMap(({ text }) => /<<'UNIT'\n([\s\S]*?)\nUNIT/.exec(text)?.[1] ?? []);
  for (const line of ["[Unit]", "[Service]", "[Install]", "KillMode=process"]) {
    expect(unit.split("\n")).toContain(line);
  }
});
