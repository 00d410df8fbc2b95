/** Maximum length of a displayed text from a peer. */
const MAX_LENGTH = 255;

/** Returns a peer's text for display, without control characters. */
export function printable(text: string): string {
  return text.slice(0, MAX_LENGTH).replaceAll(/\p{Cc}/gu, "\u00b7");
}
