import { counted, type SessionFinding, warning } from "./picture.ts";

/** An agent of another version than the datapath process may not find the counter. */
export const olderCookie: SessionFinding = ({ grown: { rxPreviousCookie = 0 } }) =>
  rxPreviousCookie === 0
    ? null
    : warning(
        `${counted(rxPreviousCookie, "frame")} came with the previous cookie`,
        "set the peer's transmit cookie to our spec.cookies.receive, and keep spec.cookies.receivePrevious until no such frames come",
      );
