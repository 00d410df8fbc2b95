/** Generic netlink (include/uapi/linux/genetlink.h): lookup of families, and their common header. */
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
  /** IDs of its multicast groups, by name. */
  readonly groups: ReadonlyMap<string, number>;
}

/** Returns a struct genlmsghdr. */
export function genericHeader(command: number, version: number): Buffer {
  return Buffer.from([command, version, 0, 0]);
}

/**
 * Finds a family by name. The request makes the kernel load the family's module, if it can.
 * @returns undefined: the family does not exist
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
