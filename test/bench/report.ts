/** What the bench found: a table, a JSON file, a picture. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { stripVTControlCharacters } from "node:util";
import { table } from "../../cli/table.ts";

export interface Row {
  readonly work: string;
  readonly against: string;
  /** Ours over theirs, of medians of one run. Null: not measured, and the note says why. */
  readonly ratio: number | null;
  readonly bound: Bound;
  readonly met: boolean;
  /** What was measured, for whoever wants to know; it says little about another machine. */
  readonly note: string;
}

/** What the ratio must be; nothing: it may be what it likes. */
export interface Bound {
  readonly least?: number;
  readonly most?: number;
}

export const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

export class Report {
  readonly #rows: Row[] = [];
  readonly #folder: string;
  /** The attempts that are under way, the outermost first. */
  readonly #attempts: string[] = [];

  /** @param folder for the files, which are up to date after each row */
  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true });
    // Rows of an earlier run would be taken for this one's if it ended at once.
    for (const file of ["bench.json", "bench.svg"]) rmSync(`${folder}/${file}`, { force: true });
  }

  /** Rows of what could not be measured. */
  get failed(): readonly Row[] {
    return this.#rows.filter(({ ratio }) => ratio === null);
  }

  /** Takes a part of the work. If it fails, a row says so, and the caller goes on. */
  async attempt(part: string, work: () => Promise<void>): Promise<void> {
    this.#attempts.push(part);
    try {
      await work();
    } catch (error) {
      const path = this.#attempts.join(": ");
      this.#put({ work: path, against: "-", ratio: null, bound: {}, met: false, note: why(error) });
      console.error(`${path} failed:`, error);
    } finally {
      this.#attempts.pop();
    }
  }

  add(
    work: string,
    against: string,
    [ours, theirs]: readonly [readonly number[], readonly number[]],
    bound: Bound,
    unit: string,
  ): void {
    const note = `${round(median(ours))} against ${round(median(theirs))} ${unit}`;
    this.addRatio(work, against, median(ours) / median(theirs), bound, note);
  }

  addRatio(work: string, against: string, ratio: number, bound: Bound, note: string): void {
    // A median of nothing, or a division by zero.
    if (!Number.isFinite(ratio)) {
      this.#put({ work, against, ratio: null, bound, met: false, note: `no figure: ${note}` });
      return;
    }
    const met = ratio >= (bound.least ?? 0) && ratio <= (bound.most ?? Number.POSITIVE_INFINITY);
    this.#put({ work, against, ratio, bound, met, note });
    console.log(`${work} against ${against}: ${ratio.toFixed(2)} × (${describe(bound)}), ${note}`);
  }

  /** Adds the rows of another report. */
  take(rows: readonly Row[]): void {
    for (const row of rows) this.#put(row);
  }

  table(): string {
    const cells = this.#rows.map(({ work, against, ratio, bound, met, note }) => {
      return [work, against, times(ratio), describe(bound), met ? "yes" : "no", note];
    });
    return table(["WORK", "AGAINST", "OURS", "MUST", "MET", "MEASURED"], cells);
  }

  #put(row: Row): void {
    this.#rows.push(row);
    writeFileSync(`${this.#folder}/bench.json`, `${JSON.stringify(this.#rows, null, 2)}\n`);
    writeFileSync(`${this.#folder}/bench.svg`, picture(this.#rows));
  }
}

/**
 * Takes the parts one after the other, whether or not those before have failed.
 * @param folder for the files
 * @returns the exit status: 1 when something could not be measured
 */
export async function takeParts(
  parts: readonly (readonly [name: string, work: (report: Report) => Promise<void>])[],
  folder: string,
): Promise<0 | 1> {
  const report = new Report(folder);
  for (const [name, work] of parts) await report.attempt(name, () => work(report));
  console.log(`\n${report.table()}\n\nAlso in ${folder}/bench.json and ${folder}/bench.svg`);
  for (const { work, against, note } of report.failed) {
    console.error(`failed: ${against === "-" ? work : `${work} against ${against}`}: ${note}`);
  }
  return report.failed.length === 0 ? 0 : 1;
}

/** The first line of an error and of its cause. */
function why(error: unknown): string {
  const { cause } = error as { cause?: unknown };
  const line = (of: unknown) =>
    stripVTControlCharacters(of instanceof Error ? of.message : String(of)).split("\n", 1)[0];
  return cause === undefined ? `${line(error)}` : `${line(error)}: ${line(cause)}`;
}

const times = (ratio: number | null): string =>
  ratio === null ? "failed" : `${ratio.toFixed(2)} ×`;

const round = (value: number): string => Number(value.toPrecision(3)).toLocaleString("en");

function describe({ least, most }: Bound): string {
  if (least !== undefined) return `≥ ${least}`;
  return most === undefined ? "-" : `≤ ${most}`;
}

const LINE = 26;
const LEFT = 380;
const RIGHT = 770;
const WIDTH = 880;
const HEAD = 24;
/** Ratios' logarithms are as far apart as the ratios are in effect: twice, and half. */
const GRID = [0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32];
const LEAST = GRID[0] as number;
const MOST = GRID.at(-1) as number;

function place(ratio: number): number {
  const clamped = Math.min(Math.max(ratio, LEAST), MOST);
  return LEFT + ((RIGHT - LEFT) * Math.log2(clamped / LEAST)) / Math.log2(MOST / LEAST);
}

/** A bar from 1 to each ratio, and a mark where it must be. */
function picture(rows: readonly Row[]): string {
  const height = HEAD + rows.length * LINE + 8;
  const grid = GRID.map((ratio) => {
    const x = place(ratio).toFixed(1);
    return [
      `<line x1="${x}" x2="${x}" y1="${HEAD - 4}" y2="${height}" stroke="${ratio === 1 ? "#444" : "#ddd"}"/>`,
      `<text x="${x}" y="14" text-anchor="middle" fill="#666">${ratio} ×</text>`,
    ].join("\n");
  });
  const bars = rows.map(({ work, against, ratio, bound, met }, index) => {
    const y = HEAD + index * LINE + 4;
    const name = `<text x="${LEFT - 8}" y="${y + 13}" text-anchor="end">${escapeXml(`${work} / ${against}`)}</text>`;
    if (ratio === null) {
      const failed = `<text x="${RIGHT + 8}" y="${y + 13}" fill="#c53">failed</text>`;
      return [name, failed].join("\n");
    }
    const [from, to] = [place(1), place(ratio)].sort((a, b) => a - b) as [number, number];
    const must = bound.least ?? bound.most;
    const mark = place(must ?? 1).toFixed(1);
    return [
      name,
      `<rect x="${from.toFixed(1)}" y="${y}" width="${(to - from).toFixed(1)}" height="18" fill="${colour(must, met)}"/>`,
      ...(must ? [`<path d="M${mark} ${y - 3}v24" stroke="#222" stroke-dasharray="3 2"/>`] : []),
      `<text x="${RIGHT + 8}" y="${y + 13}">${times(ratio)} (${escapeXml(describe(bound))})</text>`,
    ].join("\n");
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="12">\n<rect width="100%" height="100%" fill="#fff"/>\n${[...grid, ...bars].join("\n")}\n</svg>\n`;
}

/** What need not be anything is neither good nor bad. */
function colour(must: number | undefined, met: boolean): string {
  if (must === undefined) return "#68a";
  return met ? "#2a7" : "#c53";
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
