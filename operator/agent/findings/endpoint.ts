/** Datagrams that are no messages of L2TPv3, or that the socket could not take. */
import type { EndpointCounters } from "../../../model/model.ts";
import { counted, type Fault, type TunnelFinding, warning } from "./picture.ts";

type Reason = keyof Pick<EndpointCounters, "rxWrongVersion" | "rxShort" | "rxTruncated">;

const REASONS: readonly (readonly [Reason, string, string])[] = [
  [
    "rxWrongVersion",
    "had another version than L2TPv3",
    "configure L2TPv3 at the peer, or give the tunnel a port of its own",
  ],
  ["rxShort", "ended before their session id", "find their sender: no L2TPv3 peer sends such"],
  ["rxTruncated", "were larger than a frame can be", "find their sender: no frame is so large"],
];

export const foreignDatagrams: TunnelFinding = ({ grown }) => {
  const [first] = REASONS.filter(([name]) => grown[name] > 0);
  if (first === undefined) return null;
  const [name, what, remedy] = first;
  return warning(`${counted(grown[name], "datagram")} ${what}`, remedy);
};

export const endpointErrors: TunnelFinding = ({ grown: { rxErrors }, sessions }): Fault | null => {
  // The kernel counts the errors of sessions here, too.
  if (rxErrors === 0 || sessions.some(({ grown }) => grown.rxErrors > 0)) return null;
  const finding = `${counted(rxErrors, "message")} could not be received`;
  return warning(finding, "compare what the peer sends: version, session ids, cookies, sublayer");
};
