/** Finding about the node interface that a session is joined to. */
import { deviceMtu, type SessionFinding, warning } from "./picture.ts";

/** The agent does not change the MTU of the interface, so its frames can be too large for the pseudowire. */
export const interfaceMtu: SessionFinding = (of) => {
  const { session } = of.state;
  const at = of.around.nodeInterface(session.key);
  if (at?.state.kind !== "joined") return null;
  const [own, mtu] = [deviceMtu(of), at.state.mtu];
  if (mtu <= own) return null;
  return warning(
    `the MTU of interface ${at.name} is ${mtu}, and the MTU of the pseudowire is ${own}: larger frames are dropped`,
    `set spec.mtu: ${mtu} to send large frames in fragments, or lower the MTU of the hosts behind ${at.name}`,
  );
};
