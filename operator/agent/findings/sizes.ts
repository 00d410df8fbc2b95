/** Messages that are too short. */
import { counted, error, type SessionFinding } from "./picture.ts";

export const tooShort: SessionFinding = ({ grown: { rxInvalid } }) =>
  rxInvalid === 0
    ? null
    : error(
        `${counted(rxInvalid, "message")} were too short`,
        "compare cookie lengths, sublayer and pseudowire type with the peer's",
      );
