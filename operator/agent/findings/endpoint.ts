/** Findings about datagrams that are not L2TPv3, or that the socket could not receive. */
import type { EndpointCounters } from "../../../model/model.ts";
import { counted, type Fault, type TunnelFinding, warning } from "./picture.ts";

type Reason = keyof Pick<EndpointCounters, "rxWrongVersion" | "rxShort" | "rxTruncated">;

const REASONS: readonly (readonly [Reason, string, string])[] = [
  [
    "rxWrongVersion",
    "with a version other than L2TPv3",
    "configure L2TPv3 at the peer, or use a local port for this tunnel only",
  ],
  [
    "rxShort",
    "too short for a session ID",
    "find their sender: L2TPv3 peers do not send such datagrams",
  ],
  [
    "rxTruncated",
    "larger than the largest frame",
    "find their sender: L2TPv3 peers do not send such datagrams",
  ],
];

export const foreignDatagrams: TunnelFinding = ({ grown }) => {
  const [first] = REASONS.filter(([name]) => grown[name] > 0);
  if (first === undefined) return null;
  const [name, what, remedy] = first;
  return warning(`received ${counted(grown[name], "datagram")} ${what}`, remedy);
};

export const endpointErrors: TunnelFinding = ({ grown: { rxErrors }, sessions }): Fault | null => {
  // The kernel also counts the errors of sessions at the tunnel.
  if (rxErrors === 0 || sessions.some(({ grown }) => grown.rxErrors > 0)) return null;
  const finding = `receiving ${counted(rxErrors, "message")} failed`;
  return warning(finding, "compare at both ends: version, session IDs, cookies, sublayer");
};
