/** Characters that move a terminal's cursor or turn text around; an end of a line is not among them. */
const STEERING = /[^\P{Cc}\n]|[\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

/** Lines as a terminal may show them: nothing that a peer or an object says steers it. */
export function terminalLines(text: string): string {
  return text.replaceAll(STEERING, "\u00b7");
}

/** JSON that says the same, and does not steer a terminal either. */
export function terminalJson(json: string): string {
  return json.replaceAll(
    STEERING,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
