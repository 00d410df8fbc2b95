/** Frames that are too large or too small, and MTUs that the path does not carry. */
import { counted, deviceMtu, error, type SessionFinding, warning } from "./picture.ts";

export const oversize: SessionFinding = (of) => {
  const { rxOversize } = of.grown;
  if (rxOversize === 0) return null;
  const finding = `${counted(rxOversize, "frame")} were larger than the MTU`;
  return error(
    finding,
    `the peer's MTU is above ours, ${deviceMtu(of)}: set the same at both ends`,
  );
};

export const tooShort: SessionFinding = ({ grown: { rxInvalid } }) =>
  rxInvalid === 0
    ? null
    : error(
        `${counted(rxInvalid, "message")} were too short`,
        "compare cookie lengths, sublayer and pseudowire type with the peer's",
      );

export const mtuOfPath: SessionFinding = (of) => {
  const fitting = of.around.fittingMtu(of.state.session.key);
  const mtu = deviceMtu(of);
  if (fitting === null || mtu <= fitting) return null;
  const remedy = `set spec.mtu to ${fitting} or less at both ends, or leave it out`;
  return warning(`the MTU ${mtu} is too large for the path`, remedy);
};
