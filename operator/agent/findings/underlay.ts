/** Datagrams that cannot leave the node. */
import { unsendable } from "./mtu.ts";
import { error, type TunnelFinding } from "./picture.ts";

export const underlay: TunnelFinding = ({ state, around }) => {
  const { tunnel, control, lastSendError } = state;
  const noRoute = around.noRoute(tunnel.name);
  // The conditions say it of a local address that is gone.
  if (noRoute === "EADDRNOTAVAIL") return null;
  if (noRoute !== null) {
    const remedy = "add a route, or bring the underlay's interface up";
    return error(`no route to the remote ${tunnel.remote.address} (${noRoute})`, remedy);
  }
  if (lastSendError === null) return null;
  const { address } = (control ?? tunnel).remote;
  const finding = `datagrams to ${address} do not go out: ${lastSendError}`;
  return (
    unsendable(lastSendError, address) ??
    error(finding, "look at the underlay: routes, neighbours, firewall")
  );
};
