/** Collects the underlay's errors during an examination. */
import { setTimeout as sleep } from "node:timers/promises";
import { IcmpErrors } from "../../linux/icmp.ts";
import { udp6ChecksumErrors } from "../../linux/udp-statistics.ts";
import type { UnderlaySeen } from "./findings/icmp.ts";

/** Collects ICMP errors and checksum errors for the given time. @throws SystemError EPERM without CAP_NET_RAW */
export async function watchUnderlay(milliseconds: number): Promise<UnderlaySeen> {
  const before = udp6ChecksumErrors();
  const icmp = new IcmpErrors();
  try {
    await sleep(milliseconds);
    return { icmpErrors: icmp.read(), checksumErrors: udp6ChecksumErrors() - before };
  } finally {
    icmp.close();
  }
}
