/** Datagrams that cannot leave the node. */
import { error, type TunnelFinding } from "./picture.ts";

export const underlay: TunnelFinding = ({ state, around }) => {
  const { tunnel, control, lastSendError } = state;
  const noRoute = around.noRoute(tunnel.name);
  if (noRoute !== null) {
    const remedy = "add a route, or bring the underlay's interface up";
    return error(`no route to the remote ${tunnel.remote.address} (${noRoute})`, remedy);
  }
  if (lastSendError === null) return null;
  const { address } = (control ?? tunnel).remote;
  const finding = `datagrams to ${address} do not go out: ${lastSendError}`;
  return error(finding, "look at the underlay: routes, neighbours, firewall");
};
