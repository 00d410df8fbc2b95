/** The session's device is missing, or down. */
import { traitsOf } from "../../../datapath/registry/datapaths.ts";
import { isCarrying } from "../../../l2tp/control/circuit-status.ts";
import { error, type SessionFinding } from "./picture.ts";

export const device: SessionFinding = ({ state, around }) => {
  const { key } = state.session;
  if (!around.isAttached(key) || around.hasDevice?.(key) === false) return null;
  // Without a carrier it is down with the peer's circuit, and replaced by the next agreement.
  const established = state.control?.established;
  const hasCarrier = state.control === undefined || traitsOf(state.datapath).hasCarrier;
  if (!hasCarrier && !(established && isCarrying(established.peerCircuit))) return null;
  const found = around.device(key);
  if (!state.deviceOpen || found === null) {
    return error(
      "its device is gone",
      "the agent creates it again; see the conditions if it stays so",
    );
  }
  if (found.up) return null;
  const remedy = "the agent sets it up; see the conditions if it stays so";
  return error(`its device ${found.place} is down`, remedy);
};
