import { type SessionFinding, warning } from "./picture.ts";

export const sequence: SessionFinding = ({ grown }) => {
  const { rxSeqDiscards, rxOosPackets, rxSublayerSuspect } = grown;
  // Without a sublayer, the receiver reads octets of the frame as sequence numbers.
  if (rxSeqDiscards + rxOosPackets === 0 || rxSublayerSuspect > 0) return null;
  return warning(
    `missed ${rxOosPackets} sequence numbers, dropped ${rxSeqDiscards} frames that were late or had no number`,
    "check that the peer sends numbers, and the underlay for loss; if the underlay reorders frames, set spec.sequencing.reorderTimeout",
  );
};
