/** Findings about datagrams with lost fragments. The counters are those of the whole node. */
import { readFileSync } from "node:fs";
import type { Finding } from "../../agent-protocol.ts";

/** Counters of the node's network namespace, IPv4 and IPv6 together. */
export interface Fragments {
  /** Datagrams that were reassembled. */
  readonly whole: number;
  /** Datagrams that were dropped because fragments were missing. */
  readonly failed: number;
}

/** Reads the node's counters of reassembled datagrams. */
export function readFragments(): Fragments {
  return parseFragments(readOrNothing("/proc/net/snmp"), readOrNothing("/proc/net/snmp6"));
}

/** @param snmp /proc/net/snmp @param snmp6 /proc/net/snmp6 */
export function parseFragments(snmp: string, snmp6: string): Fragments {
  const [names = [], values = []] = snmp
    .split("\n")
    .filter((line) => line.startsWith("Ip: "))
    .map((line) => line.split(" "));
  const ipv4 = (name: string) => Number(values[names.indexOf(name)] ?? 0);
  const ipv6 = (name: string) => Number(new RegExp(`^Ip6${name}\\s+(\\d+)`, "m").exec(snmp6)?.[1]);
  const both = (name: string) => ipv4(name) + (ipv6(name) || 0);
  return { whole: both("ReasmOKs"), failed: both("ReasmFails") };
}

/** Reports datagrams that the node could not reassemble between two readings. */
export function aboutFragments(nodeName: string, before: Fragments, after: Fragments): Finding[] {
  const failed = after.failed - before.failed;
  if (failed <= 0) return [];
  const whole = after.whole - before.whole;
  const finding = `${failed} datagrams lacked fragments and were dropped; ${whole} were reassembled`;
  const remedy =
    "if they belong to a tunnel, its path drops fragments: set spec.mtu of its sessions so that datagrams fit the narrowest link (docs/performance.md)";
  return [{ severity: "warning", object: `node ${nodeName}`, finding, remedy }];
}

/** Returns an empty text if the file is missing, as the IPv6 file is when IPv6 is disabled. */
function readOrNothing(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
