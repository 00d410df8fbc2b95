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

const LINE = 34;
const LEFT = 330;
/** Pixels of a ratio of 1. */
const ONE = 110;
const WIDTH = 800;

/** A bar for each ratio, and a mark where it must end or reach. */
function picture(rows: readonly Row[]): string {
  const height = (rows.length + 1) * LINE;
  const bars = rows.map(({ work, against, ratio, bound, met }, index) => {
    const y = index * LINE + 12;
    const width = Math.min(ratio * ONE, WIDTH - LEFT - 70);
    const mark = LEFT + (bound.least ?? bound.most ?? 1) * ONE;
    return [
      `<text x="${LEFT - 8}" y="${y + 14}" text-anchor="end">${escapeXml(`${work} / ${against}`)}</text>`,
      `<rect x="${LEFT}" y="${y}" width="${width.toFixed(1)}" height="18" fill="${met ? "#2a7" : "#c53"}"/>`,
      `<line x1="${mark}" x2="${mark}" y1="${y - 3}" y2="${y + 21}" stroke="#222" stroke-dasharray="3 2"/>`,
      `<text x="${LEFT + width + 6}" y="${y + 14}">${ratio.toFixed(2)} × (${describe(bound)})</text>`,
    ].join("\n");
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="12">\n${bars.join("\n")}\n</svg>\n`;
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}
