const GAP = "   ";
/** Characters that are two terminal columns wide: the wide blocks of Unicode (UAX #11). */
const WIDE =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/gu;

/** Returns aligned columns under headings, as kubectl prints them. Control characters are replaced. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, ...rows].map((cells) => cells.map(printable));
  const widths = head.map((_, column) =>
    lines.reduce((most, cells) => Math.max(most, width(cells[column] ?? "")), 0),
  );
  const pad = (cell: string, column: number) =>
    cell + " ".repeat((widths[column] ?? 0) - width(cell));
  return lines.map((cells) => cells.map(pad).join(GAP).trimEnd()).join("\n");
}

/** Replaces control characters: an escape sequence in a name would control the terminal. */
const printable = (text: string) => text.replace(/\s/g, " ").replace(/\p{Cc}/gu, "\ufffd");

/** Returns the width in terminal columns. Combining marks have no width. */
const width = (text: string) =>
  [...text.replace(/[\p{Mn}\p{Me}\p{Cf}]/gu, "")].length + (text.match(WIDE)?.length ?? 0);
