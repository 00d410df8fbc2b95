/** Messages that are too short, or hold no frame of the session's type. */
import { counted, error, type SessionFinding } from "./picture.ts";

export const tooShort: SessionFinding = ({ grown: { rxInvalid, rxNotIp } }) => {
  if (rxInvalid === 0) return null;
  if (rxNotIp > 0) {
    return error(
      `${counted(rxNotIp, "message")} held neither an IPv4 nor an IPv6 datagram`,
      "set pseudowire type IP at the peer too (Cisco: interworking ip), and compare cookie lengths and sublayer",
    );
  }
  return error(
    `${counted(rxInvalid, "message")} were too short`,
    "compare cookie lengths, sublayer and pseudowire type with the peer's",
  );
};
