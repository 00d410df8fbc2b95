/** Control messages that come where none are expected, in too great a number, or without the shared secret. */
import type { Tunnel } from "../../../model/model.ts";
import { counted, type TunnelCase, type TunnelFinding, warning } from "./picture.ts";

/** More than a peer that has restarted makes us drop. */
const MANY_DROPPED = 100;

export const controlOfStatic: TunnelFinding = ({ grown: { rxControl } }) => {
  if (rxControl === 0) return null;
  const finding = `${counted(rxControl, "control message")} came: the peer wants a managed tunnel`;
  return warning(finding, "configure a static (unmanaged) pseudowire at the peer");
};

export const controlFlood: TunnelFinding = (of) => {
  const dropped = grownBy(of, "dropped");
  if (dropped <= MANY_DROPPED) return null;
  const { tunnel } = of.state;
  const secret = isSigned(tunnel) ? "" : "; set spec.control.secretRef at both ends";
  return warning(
    `${dropped} control messages in the name of ${tunnel.remote.address} were dropped: more came than a peer sends`,
    `find their sender, and filter its messages in the underlay${secret}`,
  );
};

/** Until the connection is established, the tunnel's condition says so. */
export const unsignedMessages: TunnelFinding = (of) => {
  const unsigned = grownBy(of, "unauthenticated");
  const { control } = of.state;
  if (unsigned === 0 || control?.state !== "established") return null;
  const messages = counted(unsigned, "control message");
  return warning(
    `${messages} in the name of ${control.remote.address} did not have the shared secret's signature`,
    "the peer itself is heard: find the other sender, and filter its messages in the underlay",
  );
};

function isSigned({ control }: Tunnel): boolean {
  return control !== undefined && control.secrets.length > 0;
}

function grownBy({ state, before }: TunnelCase, name: "dropped" | "unauthenticated"): number {
  return (state.control?.[name] ?? 0) - (before?.control?.[name] ?? 0);
}
