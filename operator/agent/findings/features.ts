/** Finds features that the tunnel enables and the session lacks. */
import { featuresOf } from "../../../model/features.ts";
import { findPseudowire } from "../../../model/pseudowires/index.ts";
import { isEstablished, type SessionFinding, warning } from "./picture.ts";

export const missingFeature: SessionFinding = (of) => {
  const { state, tunnel, around } = of;
  if (tunnel === undefined || !isEstablished(of) || !around.isAttached(state.session.key)) {
    return null;
  }
  const lacking = featuresOf(tunnel.tunnel).find(({ name }) => state[name] !== true);
  if (lacking === undefined) return null;
  const type = findPseudowire(state.session);
  const never = type === undefined ? null : lacking.whyNotType(type);
  if (never !== null) return warning(`${lacking.missing}: ${never.why}`, never.remedy);
  const why = lacking.whyNot(tunnel.tunnel);
  if (why === null) return warning(lacking.missing, lacking.remedy);
  return warning(`${lacking.missing}: ${why}`, `disable ${lacking.noun}, or do not use a VRF`);
};
