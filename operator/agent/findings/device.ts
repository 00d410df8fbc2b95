/** The session's device is missing, or down. */
import { traitsOf } from "../../../datapath/registry/datapaths.ts";
import { isCarrying } from "../../../l2tp/control/circuit-status.ts";
import { error, type SessionFinding } from "./picture.ts";

export const device: SessionFinding = ({ state, around }) => {
  const { key } = state.session;
  if (!around.isAttached(key) || around.hasDevice?.(key) === false) return null;
  // A device whose carrier cannot be cleared is down while the peer's circuit is, and each negotiation replaces it.
  const established = state.control?.established;
  const hasCarrier = state.control === undefined || traitsOf(state.datapath).hasCarrier;
  if (!hasCarrier && !(established && isCarrying(established.peerCircuit))) return null;
  const found = around.device(key);
  if (!state.deviceOpen || found === null) {
    return error(
      "device missing",
      "the agent recreates it; if the fault persists, check the conditions",
    );
  }
  if (found.up) return null;
  const remedy = "the agent brings it up; if the fault persists, check the conditions";
  return error(`device ${found.place} is down`, remedy);
};
