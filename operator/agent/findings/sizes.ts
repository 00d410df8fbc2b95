/** Findings about messages that are too short, or do not match the session's pseudowire type. */
import { counted, error, type SessionFinding } from "./picture.ts";

export const tooShort: SessionFinding = ({ grown: { rxInvalid, rxNotIp } }) => {
  if (rxInvalid === 0) return null;
  if (rxNotIp > 0) {
    return error(
      `received ${counted(rxNotIp, "message")} without an IPv4 or IPv6 datagram`,
      "set pseudowire type IP at the peer too (Cisco: interworking ip), and compare cookie lengths and sublayer",
    );
  }
  return error(
    `received ${counted(rxInvalid, "message")} too short for the session`,
    "compare at both ends: cookie lengths, sublayer, pseudowire type",
  );
};
