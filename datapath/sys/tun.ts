/** TAP devices (Documentation/networking/tuntap.rst, include/uapi/linux/if_tun.h). */
import { checked } from "./errno.ts";
import { closeFd, O_CLOEXEC, O_NONBLOCK, O_RDWR, openFd } from "./fd.ts";
import { c } from "./ffi.ts";
import { inNetns } from "./netns.ts";

const TUNSETIFF = 0x4004_54ca;
const TUNSETPERSIST = 0x4004_54cb;
const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
const IFNAMSIZ = 16;
const IFREQ_BYTES = 40;

/**
 * A non-blocking descriptor of the TAP device `name` in the namespace `netns` (null: our own). The
 * device is made where there is none, and stays when the descriptor is closed.
 * @throws SystemError, EBUSY where another process has the device, EINVAL where it is no TAP device
 */
export function openTap(netns: string | null, name: string): number {
  if (name === "" || Buffer.byteLength(name) >= IFNAMSIZ) {
    throw new RangeError(`interface name ${JSON.stringify(name)}: 1 to 15 bytes are allowed`);
  }
  const fd = inNetns(netns, () => openFd("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC));
  try {
    const request = Buffer.alloc(IFREQ_BYTES);
    request.write(name);
    request.writeUInt16LE(IFF_TAP | IFF_NO_PI, IFNAMSIZ);
    checked(c.ioctl(fd, TUNSETIFF, request), "ioctl TUNSETIFF", name);
    // Any argument but null: it stays when the descriptor is closed.
    checked(c.ioctl(fd, TUNSETPERSIST, Buffer.alloc(1)), "ioctl TUNSETPERSIST", name);
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}
