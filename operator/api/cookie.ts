/** Cookies as manifests and Secrets give them. */

/** What is wrong with the text, without showing it: cookies are secrets. */
export function cookieProblem(text: string): string {
  const digits = text.trim().replace(/^0x/i, "");
  return /^[0-9a-f]*$/i.test(digits)
    ? `${digits.length} hexadecimal digits, which is no length of a cookie`
    : "not hexadecimal";
}

/** A cookie's digits in lower case, or undefined where the text is none. */
export function parseCookie(text: string): string | undefined {
  const digits = text.trim().replace(/^0x/i, "").toLowerCase();
  return /^([0-9a-f]{8}){1,2}$/.test(digits) ? digits : undefined;
}
