/** The object of one end of a tunnel between two hosts, over IPv4 or IPv6. */
import type { TunnelSpec } from "../../operator/api/types.ts";
import type { Host } from "./net.ts";
import { tunnelObject } from "./objects.ts";

export type Family = "ipv4" | "ipv6";
export const PORT = 5000;

export function tunnelBy(
  family: Family,
  local: Host,
  remote: Host,
  change: Partial<TunnelSpec> = {},
): object {
  const port = change.encapsulation === "IP" ? {} : { port: PORT };
  return tunnelObject("t", local, remote, {
    local: { address: local[family], ...port },
    remote: { address: remote[family], ...port },
    ...change,
  });
}
