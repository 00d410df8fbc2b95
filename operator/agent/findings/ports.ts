/** Finds a peer that sends to another UDP port than the tunnel's. */
import { counted, error, type TunnelFinding } from "./picture.ts";

export const otherPort: TunnelFinding = ({ state: { tunnel }, wire }) => {
  const { count, last } = wire?.otherPorts ?? { count: 0, last: null };
  if (count === 0 || tunnel.encapsulation !== "UDP") return null;
  const { address } = tunnel.remote;
  const finding = `received ${counted(count, "datagram")} of ${address} for UDP port ${last}; the tunnel uses ${tunnel.local.port}`;
  return error(finding, "correct the peer's destination port, or spec.local.port");
};
