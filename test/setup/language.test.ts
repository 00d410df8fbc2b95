/** Holds the language of texts, the form of decision records and of commits. CONTRIBUTING.md has the rules in words. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { ROOT } from "../harness/pages.ts";
import { sourceFiles } from "./structure.ts";

/**
 * Findings that are still allowed, by rule and folder: the first folder of the path, but docs/adr and the folders in
 * test/ are separate. The numbers may only fall. Other folders have 0.
 */
const ALLOWED: Record<string, Record<string, number>> = {
  words: {
    // Names that reasons had before.
    "CHANGELOG.md": 3,
    // The folder of an earlier version, which the agent empties.
    operator: 1,
    // The user of that name.
    "test/kube": 6,
  },
};

/** A comment begins with its subject or its verb, not with a relative clause or a preposition. */
const OPENINGS = /^(Of|What|Whose|Who|Whether|Where|For|By|Which|How)\b/;

/** Words that the glossary, house terms and American spelling replace. A space stands for any white space. */
const WORDS = spaced(
  /\b(whoever|whomever|anew|nobody|somebody|theirs|that which|lets? go|goes by|stands? in for|ends agree)\b/,
  /\b(data planes?|newborn|birthplace|doomed|tombstones?|whereabouts|AliveAgain|RedundantAgain|NodeGone)\b/,
  /\b(neighbours?|behaviours?|colours?|honours?|cancelled|labelled|recognised|initialised)\b/,
);

const COLUMNS = 120;

/** Commits before this time are not checked: they cannot be changed. */
const COMMITS_SINCE = Date.parse("2026-11-28T00:10:00Z");
const SUBJECT = /^[a-z0-9][\w./, -]*: [a-z0-9`"'$@/.-]\S*( .*)?[^.]$/;

/** A rule's finding, at a place such as "l2tp/codec.ts:12". */
interface Finding {
  readonly file: string;
  readonly line: number;
  readonly text: string;
}

/** A comment or a string. */
interface Prose {
  readonly line: number;
  readonly text: string;
  readonly isComment: boolean;
}

/** Generated files, captures of other programs, and the two tests that list the words. */
const SKIPPED: readonly RegExp[] = [
  /generated\.ts$|package-lock\.json$|\.svg$/,
  /(^|\/)(dist|testdata)\//,
  /^LICENSE$|^test\/setup\/(language|documentation)\.test\.ts$/,
];
const FILES = list("ls-files", "--cached", "--others", "--exclude-standard").filter(
  (file) => existsSync(`${ROOT}${file}`) && !SKIPPED.some((pattern) => pattern.test(file)),
);
const SCRIPTS = FILES.filter((file) => file.endsWith(".ts"));
const TEXTS = FILES.filter((file) => !file.endsWith(".ts"));

describe("comments", () => {
  it("open with a subject or a verb", () => {
    const comments = findings(SCRIPTS, (text) => proseOf(text).filter((prose) => prose.isComment));
    hold(
      "openings",
      comments.filter(({ text }) => OPENINGS.test(text)),
    );
  });

  it(`are at most ${COLUMNS} columns wide`, () => {
    const lines = findings(SCRIPTS, (text) => linesOf(text));
    const comments = lines.filter(({ text }) => /^\s*(\/\/|\/?\*)/.test(text));
    hold(
      "width",
      comments.filter(({ text }) => text.length > COLUMNS),
    );
  });
});

it("comments, strings, pages, charts and CRDs contain none of the listed words", () => {
  const inScripts = findings(SCRIPTS, (text) => proseOf(text).flatMap(wordsIn));
  const inTexts = findings(TEXTS, (text) => wordsIn({ line: 1, text }));
  hold("words", [...inScripts, ...inTexts]);
});

it("exports of the product have a docstring", () => {
  hold("docstrings", findings(sourceFiles(), undocumentedIn));
});

it("decision records say status, date, context, decision and consequences", () => {
  const records = readdirSync(`${ROOT}docs/adr`).map((name) => `docs/adr/${name}`);
  const parts = [
    /^(Status: |## Status$)/m,
    /\bDate: |^## Date$/m,
    /^## Context$/m,
    /^## Decision$/m,
    /^## Consequences$/m,
  ];
  hold(
    "records",
    findings(records, (text) => {
      const missing = parts.filter((part) => !part.test(text)).map(String);
      return missing.length === 0 ? [] : [{ line: 1, text: `lacks ${missing.join(", ")}` }];
    }),
  );
});

it("commits have a subject `area: imperative summary` of at most 72 characters, and a body", (test) => {
  if (!hasHistory()) return test.skip("no history: this is a shallow clone, or no git directory");
  const [tag] = list("tag", "--merged", "HEAD", "--sort=-creatordate");
  const range = tag === undefined ? ["-100"] : [`${tag}..HEAD`];
  const log = git("log", "--no-merges", "--format=%h%x09%at%x09%s%x09%b%x00", ...range);
  const wrong = log.split("\0").filter((commit) => {
    const [, time = "", subject = "", body = ""] = commit.trim().split("\t");
    if (commit.trim() === "" || Number(time) * 1000 < COMMITS_SINCE) return false;
    return subject.length > 72 || !SUBJECT.test(subject) || body.trim() === "";
  });
  expect(wrong.map((commit) => commit.trim())).toEqual([]);
});

describe("this file's own reading", () => {
  it("finds comments and strings, with their lines, and no code", () => {
    const text = `const a = "x"; // One\n/** Two\n * lines. */\nconst b = \`c\${d}e\`;\n`;
    expect(proseOf(text)).toEqual([
      { line: 1, text: "x", isComment: false },
      { line: 1, text: "One", isComment: true },
      { line: 2, text: "Two\n * lines.", isComment: true },
      { line: 4, text: "ce", isComment: false },
    ]);
  });

  it("finds words over the end of a line", () => {
    expect(wordsIn({ line: 3, text: "It lets\n * go." })).toEqual([{ line: 3, text: "lets go" }]);
  });
});

/** Fails if a folder has more findings than ALLOWED says, and prints all of that folder's. */
function hold(rule: string, found: readonly Finding[]): void {
  const allowed = ALLOWED[rule] ?? {};
  const byFolder = Map.groupBy(found, ({ file }) => folderOf(file));
  const counts = Object.fromEntries([...byFolder].map(([folder, of]) => [folder, of.length]));
  const over = found.filter(({ file }) => {
    const folder = folderOf(file);
    return (counts[folder] ?? 0) > (allowed[folder] ?? 0);
  });
  const places = over.map(({ file, line, text }) => `${file}:${line}: ${text.slice(0, 100)}`);
  expect(places, `${rule}: found ${JSON.stringify(counts)}`).toEqual([]);
}

function folderOf(file: string): string {
  const depth = /^(docs\/adr|test)\//.test(file) ? 2 : 1;
  return file.split("/").slice(0, depth).join("/");
}

function findings(
  files: readonly string[],
  find: (text: string) => readonly Omit<Finding, "file">[],
): Finding[] {
  return files.flatMap((file) =>
    find(readFileSync(`${ROOT}${file}`, "utf8")).map(({ line, text }) => ({ file, line, text })),
  );
}

function linesOf(text: string): { line: number; text: string }[] {
  return text.split("\n").map((content, index) => ({ line: index + 1, text: content }));
}

/** Comments and strings of TypeScript, without their marks. Joins consecutive line comments. */
function proseOf(source: string): Prose[] {
  const marks =
    /(?<block>\/\*[\s\S]*?\*\/)|(?<lines>\/\/.*(\n[ \t]*\/\/.*)*)|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/g;
  return Array.from(source.matchAll(marks), ({ 0: found, index, groups }) => ({
    line: lineAt(source, index),
    text: withoutMarks(found),
    isComment: (groups?.block ?? groups?.lines) !== undefined,
  }));
}

const withoutMarks = (prose: string): string =>
  /^["`]/.test(prose)
    ? prose.slice(1, -1).replaceAll(/\$\{[^}]*\}/g, "")
    : prose.replace(/^(\/\*+|\/\/)\s*/, "").replace(/\s*\*\/$/, "");

function wordsIn({ line, text }: { line: number; text: string }): { line: number; text: string }[] {
  return Array.from(text.matchAll(WORDS), ({ 0: word, index }) => ({
    line: line + lineAt(text, index) - 1,
    text: word.replaceAll(/[\s*/]+/g, " "),
  }));
}

const lineAt = (text: string, index: number): number => text.slice(0, index).split("\n").length;

/** One expression of several, whose spaces also match the end of a comment's line. */
function spaced(...expressions: readonly RegExp[]): RegExp {
  const sources = expressions.map(({ source }) => source.replaceAll(" ", "[\\s*/]+"));
  return new RegExp(sources.join("|"), "gi");
}

/** Exports without a docstring. Of overloads, one has it. */
/** A file's header documents its classes and interfaces, too: a docstring of their own would say it twice. */
function undocumentedIn(text: string): { line: number; text: string }[] {
  const hasHeader = text.startsWith("/**");
  const declared =
    /(?<docs>\*\/\n)?^export (?:async |abstract )*(?<kind>function\*?|class|interface) (?<name>\w+)/gm;
  const exports = Array.from(text.matchAll(declared), ({ index, groups }) => ({
    line: lineAt(text, index),
    text: groups?.name ?? "",
    isDocumented:
      groups?.docs !== undefined || (hasHeader && groups?.kind?.startsWith("function") !== true),
  }));
  const documented = new Set(exports.flatMap((one) => (one.isDocumented ? one.text : [])));
  return exports.filter((one) => !documented.has(one.text));
}

function hasHistory(): boolean {
  try {
    return git("rev-parse", "--is-shallow-repository").trim() === "false";
  } catch {
    return false;
  }
}

function git(...args: readonly string[]): string {
  return execFileSync("git", args, { cwd: ROOT, encoding: "utf8", stdio: "pipe" });
}

function list(...args: readonly string[]): string[] {
  return git(...args)
    .split("\n")
    .filter((line) => line !== "");
}
