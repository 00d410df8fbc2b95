/** A peer that sends to another UDP port than the tunnel's. */
import { counted, error, type TunnelFinding } from "./picture.ts";

export const otherPort: TunnelFinding = ({ state: { tunnel }, wire }) => {
  const { count, last } = wire?.otherPorts ?? { count: 0, last: null };
  if (count === 0 || tunnel.encapsulation !== "UDP") return null;
  const { address } = tunnel.remote;
  const finding = `${counted(count, "datagram")} of ${address} came for UDP port ${last}, and the tunnel has ${tunnel.local.port}`;
  return error(finding, "correct the peer's destination port, or spec.local.port");
};
