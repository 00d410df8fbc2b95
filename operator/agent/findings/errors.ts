/** Findings about frames that were dropped for a reason without a counter of its own. */
import type { SessionCounters } from "../../../model/model.ts";
import { counted, error, type SessionFinding } from "./picture.ts";

/** Counters that `rxErrors` includes, and that have findings of their own. */
const NAMED: readonly (keyof SessionCounters)[] = [
  ...(["rxCookieDiscards", "rxInvalid", "rxOversize", "rxUntagged", "rxOtherVlan"] as const),
  "rxCongestionDiscards",
  // The kernel reads the first octets as a sublayer, and drops frames by them.
  "rxSublayerSuspect",
];

export const receiveErrors: SessionFinding = ({ grown }) => {
  if (grown.rxErrors <= 0 || NAMED.some((name) => grown[name] > 0)) return null;
  const finding = `${counted(grown.rxErrors, "received frame")} did not reach the device`;
  return error(finding, "compare at both ends: MTU, cookies, sublayer, pseudowire type");
};

export const transmitErrors: SessionFinding = ({ grown }) => {
  const { txErrors, txUntagged = 0, txOtherVlan = 0 } = grown;
  const unnamed = txErrors - txUntagged - txOtherVlan;
  return unnamed <= 0
    ? null
    : error(
        `sending ${counted(unnamed, "frame")} failed`,
        "check the underlay: routes, neighbors, firewall, the interface's queue (ip -s link)",
      );
};
