/** The interface of the node that a session is joined to. */
import { deviceMtu, type SessionFinding, warning } from "./picture.ts";

/** The MTU of the interface is left alone, so frames that it takes may be too large for the pseudowire. */
export const interfaceMtu: SessionFinding = (of) => {
  const { session } = of.state;
  const at = of.around.nodeInterface(session.key);
  if (at?.state.kind !== "joined") return null;
  const [own, mtu] = [deviceMtu(of), at.state.mtu];
  if (mtu <= own) return null;
  return warning(
    `interface ${at.name} has an MTU of ${mtu}, and the pseudowire one of ${own}: larger frames are dropped`,
    `set spec.mtu: ${mtu}, which has large frames sent in fragments; or lower the MTU of the hosts behind ${at.name}`,
  );
};
