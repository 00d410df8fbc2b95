/** Ordinary tunnels and sessions, for tests to vary. */
import type { Session, Tunnel } from "./model.ts";

export function tunnel(change: Partial<Tunnel> = {}): Tunnel {
  return {
    name: "t1",
    datapath: "Userspace",
    tunnelId: 1,
    peerTunnelId: 2,
    encapsulation: "UDP",
    local: { address: "192.0.2.1", port: 5000 },
    remote: { address: "192.0.2.2", port: 5000 },
    udpChecksum: true,
    fastPath: false,
    ...change,
  };
}

export function session(change: Partial<Session> = {}): Session {
  return {
    key: "default/s1",
    tunnel: "t1",
    sessionId: 1,
    peerSessionId: 2,
    l2SpecificSublayer: "Default",
    rxCookie: "",
    txCookie: "",
    sequencing: { send: false, receive: false, reorderTimeoutMs: 0 },
    mtu: 1446,
    ...change,
  };
}
