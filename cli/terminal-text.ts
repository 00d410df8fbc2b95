/** Characters that move a terminal's cursor or change the direction of text, except the line break. */
const STEERING = /[^\P{Cc}\n]|[\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

/** Replaces characters that control the terminal, because peers and objects choose parts of the text. */
export function terminalLines(text: string): string {
  return text.replaceAll(STEERING, "\u00b7");
}

/** Escapes characters that control the terminal. The JSON value stays the same. */
export function terminalJson(json: string): string {
  return json.replaceAll(
    STEERING,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
