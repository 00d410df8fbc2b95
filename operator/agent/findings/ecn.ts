/** Findings about congestion marks (spec.ecn). */
import { counted, type SessionFinding, type TunnelFinding, warning } from "./picture.ts";

export const ecnNotAgreed: TunnelFinding = ({ state: { tunnel, control } }) =>
  tunnel.ecn && control?.state === "established" && control.peerPropagatesEcn === false
    ? warning(
        "the peer does not propagate congestion marks, so spec.ecn has no effect",
        "enable ECN at the peer (RFC 9601), or omit spec.ecn",
      )
    : null;

/** The counter is absent if the datapath process is of an earlier version. */
export const congestionDiscards: SessionFinding = ({ grown: { rxCongestionDiscards = 0 } }) =>
  rxCongestionDiscards === 0
    ? null
    : warning(
        `dropped ${counted(rxCongestionDiscards, "frame")} that a router marked as congested, and whose sender does not use ECN`,
        "configure the peer to copy the ECN of each frame to the outer packet, or omit spec.ecn",
      );
