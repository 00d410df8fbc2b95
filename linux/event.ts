/** Descriptors that wake a waiting thread (eventfd(2)). */
import { checked } from "./errno.ts";
import { c } from "./ffi.ts";

const EFD_CLOEXEC_NONBLOCK = 0o2000000 | 0o4000;
const one = new Uint8Array(new BigUint64Array([1n]).buffer);
const count = new Uint8Array(8);

/** @throws SystemError */
export function createEvent(): number {
  return checked(c.eventfd(0, EFD_CLOEXEC_NONBLOCK), "eventfd");
}

/** Makes the descriptor readable until `takeEvent`. */
export function signalEvent(fd: number): void {
  c.sendEvent(fd, one, one.length);
}

/** Resets a signaled event. */
export function takeEvent(fd: number): void {
  c.readEvent(fd, count, count.length);
}
