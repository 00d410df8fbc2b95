/** Direction and endpoints of a captured packet of a tunnel. Pure. */
import type { CapturedIpPacket } from "../../../linux/packet-capture.ts";
import type { Tunnel } from "../../../model/model.ts";
import type { IpPacket } from "../../../net/ip-packet.ts";

export interface Addressed {
  readonly seconds: number;
  readonly outgoing: boolean;
  readonly from: string;
  readonly to: string;
}

/**
 * Returns the direction and endpoints of the packet; null for a duplicate: a device shows packets from the node to
 * itself in both directions.
 */
export function addressedBy(
  { seconds, outgoing }: CapturedIpPacket,
  { source, destination, sourcePort, destinationPort }: IpPacket,
  { local, encapsulation }: Tunnel,
): Addressed | null {
  const isOurs = source === local.address && sourcePort === local.port;
  if (isOurs !== outgoing) return null;
  const withPort = (host: string, port: number) => {
    if (encapsulation === "IP") return host;
    return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  };
  const from = withPort(source, sourcePort);
  return { seconds, outgoing, from, to: withPort(destination, destinationPort) };
}
