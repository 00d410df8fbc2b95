import { counted, error, type SessionFinding } from "./picture.ts";

export const cookie: SessionFinding = ({ grown: { rxCookieDiscards } }) =>
  rxCookieDiscards === 0
    ? null
    : error(
        `received ${counted(rxCookieDiscards, "frame")} with a wrong cookie`,
        "set the peer's transmit cookie to the value of spec.cookies.receive",
      );
