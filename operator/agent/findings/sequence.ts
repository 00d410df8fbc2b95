import { type SessionFinding, warning } from "./picture.ts";

export const sequence: SessionFinding = ({ grown }) => {
  const { rxSeqDiscards, rxOosPackets, rxSublayerSuspect } = grown;
  // Without a sublayer, the octets of the frame are taken for numbers.
  if (rxSeqDiscards + rxOosPackets === 0 || rxSublayerSuspect > 0) return null;
  return warning(
    `${rxOosPackets} sequence numbers were missed, ${rxSeqDiscards} frames came late or without one`,
    "the underlay loses or reorders (spec.sequencing.reorderTimeout helps the latter), or the peer does not send numbers",
  );
};
