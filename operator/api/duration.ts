/** Durations of the API: milliseconds or seconds, such as 50ms and 2s. */

/** The duration in milliseconds; undefined: the text is not one. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d{1,9})(ms|s)$/.exec(text);
  if (match === null) return undefined;
  return Number(match[1]) * (match[2] === "s" ? 1000 : 1);
}

/** The duration in milliseconds; NaN, for which every comparison is false, if the text is not one. */
export function durationMs(text: string): number {
  return parseDuration(text) ?? Number.NaN;
}
