/** Cookies in manifests and Secrets. */

/** Returns the fault of a text that is not a cookie. The text itself is a secret, and not shown. */
export function cookieProblem(text: string): string {
  const digits = text.trim().replace(/^0x/i, "");
  return /^[0-9a-f]*$/i.test(digits)
    ? `has ${digits.length} hexadecimal digits`
    : "is not hexadecimal";
}

/** Returns a cookie's digits in lower case; undefined: the text is not a cookie. */
export function parseCookie(text: string): string | undefined {
  const digits = text.trim().replace(/^0x/i, "").toLowerCase();
  return /^([0-9a-f]{8}){1,2}$/.test(digits) ? digits : undefined;
}
