/** Replies in the output of `ping -D`. */

export interface PingReturn {
  readonly sequence: number;
  /** Milliseconds since 1970. */
  readonly at: number;
}

/** @param output ping's whole output so far; an incomplete last line is ignored */
export function pingReturns(output: string): PingReturn[] {
  const lines = output.matchAll(/^\[([\d.]+)\] \d+ bytes from .* icmp_seq=(\d+) /gm);
  return Array.from(lines, ([, time, sequence]) => ({
    sequence: Number(sequence),
    at: Number(time) * 1000,
  }));
}
