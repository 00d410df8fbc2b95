/** Endpoints of tunnels, with the defaults of omitted fields. */

import type { Endpoint } from "../../model/model.ts";
import { canonicalAddress } from "../../net/ip.ts";
import type { TunnelSpec } from "./generated.ts";

/** The registered port of L2TP (RFC 3931 §4.1.2.1). */
export const DEFAULT_UDP_PORT = 1701;

/** Returns an endpoint of the manifest, with the default port; port 0 over IP, which has no ports. */
export function endpointOf(
  { encapsulation }: Pick<TunnelSpec, "encapsulation">,
  { address, port }: { readonly address: string; readonly port?: number | undefined },
): Endpoint {
  const isIp = encapsulation === "IP";
  return { address: canonicalAddress(address), port: isIp ? 0 : (port ?? DEFAULT_UDP_PORT) };
}
