/** The longest text of a peer's that anybody is shown. */
const MAX_LENGTH = 255;

/** A peer's text as people may see it: nothing in it moves a terminal's cursor. */
export function printable(text: string): string {
  return text.slice(0, MAX_LENGTH).replaceAll(/\p{Cc}/gu, "\u00b7");
}
