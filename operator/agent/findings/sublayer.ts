import { error, type SessionFinding } from "./picture.ts";

export const sublayer: SessionFinding = ({ state, onWire, grown: { rxSublayerSuspect } }) => {
  if (rxSublayerSuspect === 0) return null;
  const { l2SpecificSublayer: expected } = onWire ?? state.session;
  const sent = expected === "None" ? "an L2-specific sublayer" : "no L2-specific sublayer";
  const finding = `the peer sends ${sent}; this session expects ${expected}`;
  return error(finding, "set l2SpecificSublayer the same at both ends");
};
