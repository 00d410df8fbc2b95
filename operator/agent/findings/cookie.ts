import { counted, error, type SessionFinding } from "./picture.ts";

export const cookie: SessionFinding = ({ grown: { rxCookieDiscards } }) =>
  rxCookieDiscards === 0
    ? null
    : error(
        `${counted(rxCookieDiscards, "frame")} came with a wrong cookie`,
        "the peer's transmit cookie must be our spec.cookies.receive",
      );
