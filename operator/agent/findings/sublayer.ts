import { error, type SessionFinding } from "./picture.ts";

export const sublayer: SessionFinding = ({ state, onWire, grown: { rxSublayerSuspect } }) => {
  if (rxSublayerSuspect === 0) return null;
  const { l2SpecificSublayer: ours } = onWire ?? state.session;
  const theirs = ours === "None" ? "an L2-specific sublayer" : "no L2-specific sublayer";
  const finding = `the peer sends ${theirs}, which we do not expect`;
  return error(finding, `set the same at both ends; ours is ${ours}`);
};
