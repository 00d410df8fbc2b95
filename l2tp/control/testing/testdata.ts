/** Default connections and sessions for tests. */
import type { ConnectionSettings } from "../connection.ts";
import { DEFAULT_DELIVERY } from "../delivery.ts";
import type { Octets } from "../octets.ts";
import type { SessionConfig } from "../session.ts";

/** A reproducible random source. */
export function chance(seed: number): (count: number) => Octets {
  let state = (seed * 2654435761 + 1) >>> 0;
  return (count) =>
    Uint8Array.from({ length: count }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return state >>> 24;
    });
}

export function connectionSettings(change: Partial<ConnectionSettings> = {}): ConnectionSettings {
  return {
    hostName: "node-1",
    routerId: 0xc000_0201,
    pseudowireTypes: [5],
    propagatesEcn: false,
    secrets: [],
    digest: "md5",
    hidesValues: false,
    delivery: DEFAULT_DELIVERY,
    helloMs: 60_000,
    deadAfterMs: Number.POSITIVE_INFINITY,
    setupMs: 30_000,
    ...change,
  };
}

export function sessionConfig(change: Partial<SessionConfig> = {}): SessionConfig {
  return {
    key: "shop/lan",
    remoteEndId: "lan",
    callRequest: "ICRQ",
    pseudowireType: 5,
    l2SpecificSublayer: "None",
    receiveSequencing: false,
    interfaceMtu: null,
    rxCookie: null,
    ...change,
  };
}
