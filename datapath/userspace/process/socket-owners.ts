/** The datapaths that use sockets of this process, by name (`Tunnel.socketOwner`). */
import type { Tunnel } from "../../../model/model.ts";
import { openManagedSocket } from "../../managed-kernel/socket.ts";
import { MANAGED_KERNEL } from "../../managed-kernel/traits.ts";

/**
 * Opens a socket that is connected to the tunnel's remote, and passes it to the datapath. The process then receives
 * only control messages from it.
 * @returns the socket's descriptor
 * @throws SystemError
 */
export type OpenSocket = (tunnel: Tunnel, prepare: (fd: number) => void) => number;

const OWNERS: ReadonlyMap<string, OpenSocket> = new Map([[MANAGED_KERNEL.name, openManagedSocket]]);

/** @throws RangeError */
export function socketOwner(name: string): OpenSocket {
  const open = OWNERS.get(name);
  if (open === undefined) throw new RangeError(`datapath ${name} uses no sockets of the process`);
  return open;
}
