/** The bench's results: a table, a JSON file, charts. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { stripVTControlCharacters } from "node:util";
import { table } from "../../cli/table.ts";
import { CHARTS, drawChart } from "./charts.ts";

export interface Row {
  readonly work: string;
  readonly against: string;
  /** l2tp-cni's median divided by the other side's, of one run. Null: not measured; the note has the reason. */
  readonly ratio: number | null;
  readonly bound: Bound;
  readonly met: boolean;
  /** The measured values, which depend on the machine. */
  readonly note: string;
}

/** Limits of the ratio; without fields: no limit. */
export interface Bound {
  readonly least?: number;
  readonly most?: number;
}

export const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

export class Report {
  readonly #rows: Row[] = [];
  readonly #folder: string;
  /** The running attempts, the outermost first. */
  readonly #attempts: string[] = [];

  /** @param folder for the files, which are written after each row */
  constructor(folder: string) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true });
    // Without this, a run that fails at once would leave the rows of an earlier run.
    const files = ["bench.json", ...CHARTS.map(({ file }) => file)];
    for (const file of files) rmSync(`${folder}/${file}`, { force: true });
  }

  /** Rows without a measurement. */
  get failed(): readonly Row[] {
    return this.#rows.filter(({ ratio }) => ratio === null);
  }

  /** Runs a part of the work. A failure becomes a row, and is not thrown. */
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
    // The median of no values, or a division by zero.
    if (!Number.isFinite(ratio)) {
      this.#put({ work, against, ratio: null, bound, met: false, note: `no figure: ${note}` });
      return;
    }
    const met = ratio >= (bound.least ?? 0) && ratio <= (bound.most ?? Number.POSITIVE_INFINITY);
    this.#put({ work, against, ratio, bound, met, note });
    console.log(
      `${work} against ${against}: ${ratio.toFixed(2)} × (${describeBound(bound)}), ${note}`,
    );
  }

  /** Adds the rows of another report. */
  take(rows: readonly Row[]): void {
    for (const row of rows) this.#put(row);
  }

  table(): string {
    const cells = this.#rows.map(({ work, against, ratio, bound, met, note }) => {
      return [work, against, times(ratio), describeBound(bound), met ? "yes" : "no", note];
    });
    return table(["WORK", "AGAINST", "OURS", "MUST", "MET", "MEASURED"], cells);
  }

  #put(row: Row): void {
    this.#rows.push(row);
    writeFileSync(`${this.#folder}/bench.json`, `${JSON.stringify(this.#rows, null, 2)}\n`);
    for (const spec of CHARTS) {
      const picture = drawChart(spec, this.#rows);
      if (picture !== null) writeFileSync(`${this.#folder}/${spec.file}`, picture);
    }
  }
}

/**
 * Runs the parts in order, also after failures.
 * @param folder for the files
 * @returns the exit status: 1 if a measurement failed
 */
export async function takeParts(
  parts: readonly (readonly [name: string, work: (report: Report) => Promise<void>])[],
  folder: string,
): Promise<0 | 1> {
  const report = new Report(folder);
  for (const [name, work] of parts) await report.attempt(name, () => work(report));
  console.log(`\n${report.table()}\n\nAlso in ${folder}/bench.json, with charts`);
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

export const times = (ratio: number | null): string =>
  ratio === null ? "failed" : `${ratio.toFixed(2)} ×`;

const round = (value: number): string => Number(value.toPrecision(3)).toLocaleString("en");

export function describeBound({ least, most }: Bound): string {
  if (least !== undefined) return `≥ ${least}`;
  return most === undefined ? "-" : `≤ ${most}`;
}
