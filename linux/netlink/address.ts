/** Addresses of links by rtnetlink (include/uapi/linux/if_addr.h). */
import { formatInterfaceAddress, parseInterfaceAddress } from "../../net/ip.ts";
import { isErrno } from "../errno.ts";
import { AF_INET, AF_INET6 } from "../socket.ts";
import { MessageWriter, NetlinkAttributes, NLM_F_ACK } from "./message.ts";
import {
  type NetlinkSocket,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
} from "./socket.ts";

const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
const IFADDRMSG_BYTES = 8;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_FLAGS = 8;
/** Skip duplicate address detection: IPAM prevents duplicates. */
const IFA_F_NODAD = 0x02;
/** The address has no lifetime. */
const IFA_F_PERMANENT = 0x80;

export interface LinkAddress {
  /** The index of its link. */
  readonly link: number;
  /** "192.0.2.1/24", or "10.5.1.2 peer 10.5.1.1/32". */
  readonly prefix: string;
}

export interface KnownAddress extends LinkAddress {
  /** True if it has a lifetime, set by a router or by the program that added it. */
  readonly isTransient: boolean;
}

function ifaddrmsg(family: number, prefixLength: number, link: number): Buffer {
  const header = Buffer.alloc(IFADDRMSG_BYTES);
  header.writeUInt8(family, 0);
  header.writeUInt8(prefixLength, 1);
  header.writeUInt32LE(link, 4);
  return header;
}

/** Returns all addresses in the socket's namespace. */
export function listAddresses(socket: NetlinkSocket): KnownAddress[] {
  const build = () => ({
    name: "list addresses",
    message: new MessageWriter(RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, ifaddrmsg(0, 0, 0)),
  });
  return socket.dump(build).flatMap(({ payload }) => {
    const attributes = new NetlinkAttributes(payload, IFADDRMSG_BYTES);
    const other = attributes.bytes(IFA_ADDRESS);
    const address = attributes.bytes(IFA_LOCAL) ?? other;
    if (address === undefined) return [];
    // Without a peer both attributes hold the same address.
    const peer = other === undefined || Buffer.compare(address, other) === 0 ? null : other;
    const prefix = formatInterfaceAddress({ address, length: payload.readUInt8(1), peer });
    const flags = attributes.u32(IFA_FLAGS) ?? payload.readUInt8(2);
    const isTransient = (flags & IFA_F_PERMANENT) === 0;
    return [{ link: payload.readUInt32LE(4), prefix, isTransient }];
  });
}

/** Adds an address. Does nothing if the link already has it. */
export function addAddress(socket: NetlinkSocket, address: LinkAddress): void {
  const flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
  changeAddress(socket, address, RTM_NEWADDR, flags);
}

/** Deletes an address. Does nothing if the link does not have it. */
export function deleteAddress(socket: NetlinkSocket, address: LinkAddress): void {
  try {
    changeAddress(socket, address, RTM_DELADDR, NLM_F_REQUEST | NLM_F_ACK);
  } catch (error) {
    if (!isErrno(error, "EADDRNOTAVAIL", "ENODEV")) throw error;
  }
}

function changeAddress(
  socket: NetlinkSocket,
  { link, prefix }: LinkAddress,
  type: number,
  flags: number,
): void {
  const parsed = parseInterfaceAddress(prefix);
  if (parsed === undefined) {
    throw new TypeError(`${JSON.stringify(prefix)} is not an address of an interface`);
  }
  const family = parsed.address.length === 4 ? AF_INET : AF_INET6;
  const message = new MessageWriter(type, flags, ifaddrmsg(family, parsed.length, link))
    .bytes(IFA_LOCAL, parsed.address)
    .bytes(IFA_ADDRESS, parsed.peer ?? parsed.address);
  if (family === AF_INET6) message.u32(IFA_FLAGS, IFA_F_NODAD);
  const name = type === RTM_NEWADDR ? `add address ${prefix} to` : `delete address ${prefix} of`;
  socket.request({ message, name: `${name} link ${link}` });
}
