/** Findings about control messages that are unexpected, too many, or not signed with the shared secret. */
import type { Tunnel } from "../../../model/model.ts";
import { counted, type TunnelCase, type TunnelFinding, warning } from "./picture.ts";

/** The node drops fewer messages than this when a peer restarts. */
const MANY_DROPPED = 100;

export const controlOfStatic: TunnelFinding = ({ grown: { rxControl } }) => {
  if (rxControl === 0) return null;
  const messages = counted(rxControl, "control message");
  return warning(
    `received ${messages} from addresses without a control connection`,
    "if the peer sends them, set spec.control on the tunnel, or configure the peer statically",
  );
};

export const controlFlood: TunnelFinding = (of) => {
  const dropped = grownBy(of, "dropped");
  if (dropped <= MANY_DROPPED) return null;
  const { tunnel } = of.state;
  const secret = isSigned(tunnel) ? "" : "; set spec.control.secretRef at both ends";
  return warning(
    `dropped ${dropped} control messages with source address ${tunnel.remote.address}: more than a peer sends`,
    `find their sender, and filter its messages in the underlay${secret}`,
  );
};

/** Before the connection is established, the tunnel's condition reports a wrong secret. */
export const unsignedMessages: TunnelFinding = (of) => {
  const unsigned = grownBy(of, "unauthenticated");
  const { control } = of.state;
  if (unsigned === 0 || control?.state !== "established") return null;
  const messages = counted(unsigned, "control message");
  return warning(
    `${messages} with source address ${control.remote.address} were not signed with the shared secret`,
    "the peer's own messages arrive: find the other sender, and filter its messages in the underlay",
  );
};

function isSigned({ control }: Tunnel): boolean {
  return control !== undefined && control.secrets.length > 0;
}

function grownBy({ state, before }: TunnelCase, name: "dropped" | "unauthenticated"): number {
  return (state.control?.[name] ?? 0) - (before?.control?.[name] ?? 0);
}
