/** Pings that came back, as `ping -D` tells of them. */

export interface PingReturn {
  readonly sequence: number;
  /** Milliseconds since 1970. */
  readonly at: number;
}

/** @param output all that ping has said: a line of it may not be whole before */
export function pingReturns(output: string): PingReturn[] {
  const lines = output.matchAll(/^\[([\d.]+)\] \d+ bytes from .* icmp_seq=(\d+) /gm);
  return Array.from(lines, ([, time, sequence]) => ({
    sequence: Number(sequence),
    at: Number(time) * 1000,
  }));
}
