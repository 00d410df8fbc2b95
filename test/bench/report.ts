/** What the bench found: a table, a JSON file, a picture. */
import { mkdirSync, writeFileSync } from "node:fs";
import { table } from "../../cli/table.ts";

export interface Row {
  readonly work: string;
  readonly against: string;
  /** Ours over theirs, of medians of one run. */
  readonly ratio: number;
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
    const met = ratio >= (bound.least ?? 0) && ratio <= (bound.most ?? Number.POSITIVE_INFINITY);
    this.#rows.push({ work, against, ratio, bound, met, note });
    console.log(`${work} against ${against}: ${ratio.toFixed(2)} × (${describe(bound)}), ${note}`);
  }

  /** Rows of another report. */
  take(rows: readonly Row[]): void {
    this.#rows.push(...rows);
  }

  /** Writes the files, and returns the table. */
  finish(folder: string): string {
    mkdirSync(folder, { recursive: true });
    writeFileSync(`${folder}/bench.json`, `${JSON.stringify(this.#rows, null, 2)}\n`);
    writeFileSync(`${folder}/bench.svg`, picture(this.#rows));
    const cells = this.#rows.map(({ work, against, ratio, bound, met, note }) => {
      return [work, against, `${ratio.toFixed(2)} ×`, describe(bound), met ? "yes" : "no", note];
    });
    return table(["WORK", "AGAINST", "OURS", "MUST", "MET", "MEASURED"], cells);
  }
}

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
    const [from, to] = [place(1), place(ratio)].sort((a, b) => a - b) as [number, number];
    const must = bound.least ?? bound.most;
    const mark = place(must ?? 1).toFixed(1);
    return [
      `<text x="${LEFT - 8}" y="${y + 13}" text-anchor="end">${escapeXml(`${work} / ${against}`)}</text>`,
      `<rect x="${from.toFixed(1)}" y="${y}" width="${(to - from).toFixed(1)}" height="18" fill="${colour(must, met)}"/>`,
      ...(must ? [`<path d="M${mark} ${y - 3}v24" stroke="#222" stroke-dasharray="3 2"/>`] : []),
      `<text x="${RIGHT + 8}" y="${y + 13}">${ratio.toFixed(2)} × (${escapeXml(describe(bound))})</text>`,
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
