/** Frames that were dropped for a reason that nothing else names. */
import type { SessionCounters } from "../../../model/model.ts";
import { counted, error, type SessionFinding } from "./picture.ts";

/** Reasons that `rxErrors` includes, and that have findings of their own. */
const NAMED: readonly (keyof SessionCounters)[] = [
  ...(["rxCookieDiscards", "rxInvalid", "rxOversize"] as const),
  // The kernel drops frames by the octets that it takes for a sublayer.
  "rxSublayerSuspect",
];

export const receiveErrors: SessionFinding = ({ grown }) => {
  if (grown.rxErrors <= 0 || NAMED.some((name) => grown[name] > 0)) return null;
  const finding = `${counted(grown.rxErrors, "frame")} came and did not reach its device`;
  return error(finding, "compare MTU, cookies, sublayer and pseudowire type with the peer's");
};

export const transmitErrors: SessionFinding = ({ grown: { txErrors } }) =>
  txErrors <= 0
    ? null
    : error(
        `${counted(txErrors, "frame")} could not be sent`,
        "look at the underlay: routes, neighbours, firewall, the queue of the interface (ip -s link)",
      );
