import { counted, type SessionFinding, warning } from "./picture.ts";

/** The counter is absent if the datapath process is of an earlier version. */
export const olderCookie: SessionFinding = ({ grown: { rxPreviousCookie = 0 } }) =>
  rxPreviousCookie === 0
    ? null
    : warning(
        `${counted(rxPreviousCookie, "frame")} came with the previous cookie`,
        "set the peer's transmit cookie to our spec.cookies.receive, and keep spec.cookies.receivePrevious until these frames stop",
      );
