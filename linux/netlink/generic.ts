/** Generic netlink (include/uapi/linux/genetlink.h): families by name, and the header they share. */
import { MessageWriter, NetlinkAttributes, NLM_F_ACK } from "./message.ts";
import { type NetlinkSocket, NLM_F_REQUEST } from "./socket.ts";

const GENL_ID_CTRL = 16;
const CTRL_CMD_GETFAMILY = 3;
const CTRL_ATTR_FAMILY_ID = 1;
const CTRL_ATTR_FAMILY_NAME = 2;
const CTRL_ATTR_MCAST_GROUPS = 7;
const CTRL_ATTR_MCAST_GRP_NAME = 1;
const CTRL_ATTR_MCAST_GRP_ID = 2;
export const GENLMSGHDR_BYTES = 4;

export interface GenericFamily {
  readonly id: number;
  /** Ids of its multicast groups, by their names. */
  readonly groups: ReadonlyMap<string, number>;
}

export function genericHeader(command: number, version: number): Buffer {
  return Buffer.from([command, version, 0, 0]);
}

/**
 * Asking for a family makes the kernel load its module, where it has one and a modprobe.
 * @returns undefined where there is no such family
 */
export function findFamily(socket: NetlinkSocket, name: string): GenericFamily | undefined {
  const header = genericHeader(CTRL_CMD_GETFAMILY, 1);
  const message = new MessageWriter(GENL_ID_CTRL, NLM_F_REQUEST | NLM_F_ACK, header);
  message.string(CTRL_ATTR_FAMILY_NAME, name);
  const found = socket.find({ message, name: `find generic netlink family ${name}` }, "ENOENT");
  if (found === undefined) return undefined;
  const attributes = new NetlinkAttributes(found.payload, GENLMSGHDR_BYTES);
  const groups = attributes.nested(CTRL_ATTR_MCAST_GROUPS)?.children() ?? [];
  return {
    id: attributes.u16(CTRL_ATTR_FAMILY_ID) ?? 0,
    groups: new Map(
      groups.map((group) => [
        group.string(CTRL_ATTR_MCAST_GRP_NAME) ?? "",
        group.u32(CTRL_ATTR_MCAST_GRP_ID) ?? 0,
      ]),
    ),
  };
}
