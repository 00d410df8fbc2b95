/** Default tunnels and sessions for tests. */
import type { Endpoint, Session, SessionControl, Tunnel, TunnelControl } from "./model.ts";

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

/** Fields of both modes. */
export type ControlChange = Partial<
  Omit<TunnelControl, "mode" | "backups"> & {
    readonly mode: TunnelControl["mode"];
    readonly backups: readonly Endpoint[];
  }
>;

export function tunnelControl(change: ControlChange = {}): TunnelControl {
  return {
    mode: "Managed",
    initiates: true,
    backups: [],
    hostName: "node",
    routerId: 1,
    secrets: [],
    digest: "md5",
    hidesValues: false,
    helloMs: 500,
    deadAfterMs: 1500,
    retransmitMs: 200,
    retransmitCapMs: 800,
    maxRetransmits: 10,
    ...change,
  } as TunnelControl;
}

export function sessionControl(change: Partial<SessionControl> = {}): SessionControl {
  return {
    remoteEndId: "lan",
    places: "ICRQ",
    pseudowireType: 5,
    rxCookie: null,
    circuit: { active: true, standby: false },
    ...change,
  };
}
