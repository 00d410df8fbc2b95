/** The node's counters of UDP over IPv6 (/proc/net/snmp6). */
import { readFileSync } from "node:fs";

const COUNTERS = "/proc/self/net/snmp6";

/**
 * Returns the datagrams that were dropped for a wrong checksum, or a missing one that the socket requires; 0 without
 * IPv6.
 */
export function udp6ChecksumErrors(): number {
  try {
    return checksumErrorsIn(readFileSync(COUNTERS, "utf8"));
  } catch {
    return 0;
  }
}

/** @param text the content of the file */
export function checksumErrorsIn(text: string): number {
  return Number(/^Udp6InCsumErrors\s+(\d+)$/m.exec(text)?.[1] ?? 0);
}
