/** The node's counters of UDP over IPv6 (/proc/net/snmp6). */
import { readFileSync } from "node:fs";

const COUNTERS = "/proc/self/net/snmp6";

/** Datagrams that were dropped for a wrong checksum, or for none where the socket wants one; 0 without IPv6. */
export function udp6ChecksumErrors(): number {
  try {
    return checksumErrorsIn(readFileSync(COUNTERS, "utf8"));
  } catch {
    return 0;
  }
}

/** @param text of the file */
export function checksumErrorsIn(text: string): number {
  return Number(/^Udp6InCsumErrors\s+(\d+)$/m.exec(text)?.[1] ?? 0);
}
