/** Findings about datagrams that the node cannot send. */
import { unsendable } from "./mtu.ts";
import { error, type TunnelFinding } from "./picture.ts";

export const underlay: TunnelFinding = ({ state, around }) => {
  const { tunnel, control, lastSendError } = state;
  const noRoute = around.noRoute(tunnel.name);
  // The conditions report a missing local address.
  if (noRoute === "EADDRNOTAVAIL") return null;
  if (noRoute !== null) {
    const remedy = "add a route, or bring the underlay's interface up";
    return error(`no route to the remote ${tunnel.remote.address} (${noRoute})`, remedy);
  }
  if (lastSendError === null) return null;
  const { address } = (control ?? tunnel).remote;
  const finding = `sending to ${address} fails: ${lastSendError}`;
  return (
    unsendable(lastSendError, address) ??
    error(finding, "check the underlay: routes, neighbors, firewall")
  );
};
