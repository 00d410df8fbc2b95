/** TAP and TUN devices (Documentation/networking/tuntap.rst, include/uapi/linux/if_tun.h). */
import { checked } from "./errno.ts";
import { closeFd, O_CLOEXEC, O_NONBLOCK, O_RDWR, openFd } from "./fd.ts";
import { background, c } from "./ffi.ts";
import { inNetns } from "./netns.ts";
import { AF_INET } from "./socket.ts";

const TUNSETIFF = 0x4004_54ca;
const TUNSETPERSIST = 0x4004_54cb;
const TUNSETOFFLOAD = 0x4004_54d0;
const TUNSETVNETHDRSZ = 0x4004_54d8;
/** Flags of TUNSETIFF for each kind: IP datagrams, or Ethernet frames. */
const IFF_KIND = { TUN: 0x0001, TAP: 0x0002 } as const;
const IFF_NO_PI = 0x1000;
/** A struct virtio_net_hdr precedes each frame. */
const IFF_VNET_HDR = 0x4000;
const VNET_HDR_BYTES = 10;
/** Offloads: the device may pass on partial checksums and frames larger than the MTU. UDP requires Linux 6.2. */
const TUN_F = { csum: 0x01, tso4: 0x02, tso6: 0x04, ecn: 0x08, uso4: 0x20, uso6: 0x40 } as const;
const TCP_OFFLOADS = TUN_F.csum | TUN_F.tso4 | TUN_F.tso6 | TUN_F.ecn;
const SIOCGIFINDEX = 0x8933;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const IFNAMSIZ = 16;
const IFREQ_BYTES = 40;

const TUNSETCARRIER = 0x4004_54e2;

/** Sets the carrier of the device (Linux 5.0). An older kernel ignores it: the carrier is always on. */
export function setCarrier(fd: number, on: boolean): void {
  const value = Buffer.alloc(4);
  value.writeInt32LE(on ? 1 : 0);
  c.ioctl(fd, TUNSETCARRIER, value);
}

/**
 * Closes the descriptor, and deletes the device, even if it was renamed or moved. The kernel takes some 15 ms (an RCU
 * barrier), so another thread waits for it.
 */
export function deleteTap(fd: number): void {
  c.ioctl(fd, TUNSETPERSIST, null);
  void background.close(fd);
}

/** The offloads of a device: all that the kernel supports, or none. */
export type DeviceOffload = "all" | "none";
const OFFLOADS: Readonly<Record<DeviceOffload, readonly number[]>> = {
  all: [TCP_OFFLOADS | TUN_F.uso4 | TUN_F.uso6, TCP_OFFLOADS, 0],
  none: [0],
};

export interface Tap {
  readonly fd: number;
  /** The device's index in its namespace. */
  readonly index: number;
  /** True if the device supports large UDP frames. */
  readonly hasUdp: boolean;
}

/**
 * Opens the TAP or TUN device `name` in the namespace `netns` (null: the process's own), nonblocking, with a struct
 * virtio_net_hdr before each frame. Creates the device if it does not exist.
 * @param stays true: the device remains when the descriptor is closed
 * @throws SystemError EBUSY if another process has the device open, EINVAL if the device is of another kind
 */
export function openTap(
  netns: string | null,
  name: string,
  offload: DeviceOffload,
  stays = true,
  kind: keyof typeof IFF_KIND = "TAP",
): Tap {
  if (name === "" || Buffer.byteLength(name) >= IFNAMSIZ) {
    throw new RangeError(`invalid interface name ${JSON.stringify(name)}: must have 1 to 15 bytes`);
  }
  const fd = inNetns(netns, () => openFd("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  try {
    const request = Buffer.alloc(IFREQ_BYTES);
    request.write(name);
    request.writeUInt16LE(IFF_KIND[kind] | IFF_NO_PI | IFF_VNET_HDR, IFNAMSIZ);
    checked(c.ioctl(fd, TUNSETIFF, request), "ioctl TUNSETIFF", name);
    const size = Buffer.alloc(4);
    size.writeInt32LE(VNET_HDR_BYTES);
    checked(c.ioctl(fd, TUNSETVNETHDRSZ, size), "ioctl TUNSETVNETHDRSZ", name);
    const accepted = setOffload(fd, name, OFFLOADS[offload]);
    // Any argument other than null makes the device persistent.
    if (stays) checked(c.ioctl(fd, TUNSETPERSIST, Buffer.alloc(1)), "ioctl TUNSETPERSIST", name);
    const index = inNetns(netns, () => indexOf(name));
    return { fd, index, hasUdp: (accepted & TUN_F.uso4) !== 0 };
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/** Returns the index of a device in the calling thread's namespace (netdevice(7)). */
function indexOf(name: string): number {
  const socket = checked(c.socket(AF_INET, SOCK_DGRAM_CLOEXEC, 0), "socket");
  try {
    const request = Buffer.alloc(IFREQ_BYTES);
    request.write(name);
    checked(c.ioctl(socket, SIOCGIFINDEX, request), "ioctl SIOCGIFINDEX", name);
    return request.readInt32LE(IFNAMSIZ);
  } finally {
    closeFd(socket);
  }
}

/** Sets the first set of offloads that the kernel supports, and returns it. The ioctl's argument is a number. */
function setOffload(fd: number, name: string, offloads: readonly number[]): number {
  const accepted = offloads.find((flags) => c.ioctlNumber(fd, TUNSETOFFLOAD, flags) === 0);
  return accepted ?? checked(-1, "ioctl TUNSETOFFLOAD", name);
}
