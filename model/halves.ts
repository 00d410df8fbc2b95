/**
 * A tunnel whose control connection is the userspace datapath's, and whose frames are the kernel's: two objects of
 * one manifest, each programmed and looked at by itself. The control half has the socket, and hands it to the kernel.
 */
import type { Session, Tunnel } from "./model.ts";

/** No name of an object has it in it. */
const SUFFIX = ":control";

/** Whether it has two halves. */
export function isHandedOver({ datapath, control }: Tunnel): boolean {
  return datapath === "Kernel" && control !== undefined;
}

export function controlHalf(tunnel: Tunnel): Tunnel {
  return { ...tunnel, name: halfName(tunnel.name), datapath: "Userspace", handsOver: true };
}

export function controlHalfOf(session: Session): Session {
  return { ...session, key: halfName(session.key), tunnel: halfName(session.tunnel) };
}

/** Of the control half, by a tunnel's name or a session's key. */
export function halfName(name: string): string {
  return name + SUFFIX;
}

export function isControlHalf(name: string): boolean {
  return name.endsWith(SUFFIX);
}

/** What the object itself is called. */
export function wholeName(name: string): string {
  return isControlHalf(name) ? name.slice(0, -SUFFIX.length) : name;
}
