import { counted, type SessionFinding, warning } from "./picture.ts";

export const spoofed: SessionFinding = ({ grown: { txSpoofed } }) =>
  txSpoofed === 0
    ? null
    : warning(
        `${counted(txSpoofed, "frame")} of its pods were dropped: their source address was not that of the pod's interface`,
        "the pod bridges, or changed its MAC; set spec.attachment.macSpoofing: Allow if it may",
      );
