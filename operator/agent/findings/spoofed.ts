import { counted, type SessionFinding, warning } from "./picture.ts";

export const spoofed: SessionFinding = ({ grown: { txSpoofed } }) =>
  txSpoofed === 0
    ? null
    : warning(
        `dropped ${counted(txSpoofed, "frame")} of pods: source address differs from the interface's MAC address`,
        "the pod bridges, or changed its MAC address; to permit that, set spec.attachment.macSpoofing: Allow",
      );
