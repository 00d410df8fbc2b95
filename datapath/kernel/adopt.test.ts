import { expect, it } from "vitest";
import { adoptSession, isOurSession } from "./adopt.ts";
import type { KernelSession } from "./l2tp-netlink.ts";

const session = (name: string, pseudowireType = 5): KernelSession => ({
  ...{ tunnelId: 1, peerTunnelId: 1, sessionId: 7, peerSessionId: 8, pseudowireType },
  ...{ txCookie: "", rxCookie: "", interface: name, usingIpsec: false, lnsMode: true },
  ...{ sendSequence: false, receiveSequence: false, reorderTimeoutMs: 0 },
  statistics: {
    ...{ txPackets: 0, txBytes: 0, txErrors: 0, rxPackets: 0, rxBytes: 0, rxSeqDiscards: 0 },
    ...{ rxOosPackets: 0, rxErrors: 0, rxCookieDiscards: 0, rxInvalid: 0 },
  },
});

it.each<[string, number, string | undefined, string]>([
  ["l2tp-7", 5, undefined, "Default"],
  ["l2tn-7", 5, undefined, "None"],
  ["l2qp-7", 5, "EthernetVLAN", "Default"],
  ["l2qn-7", 5, "EthernetVLAN", "None"],
])("adopts %s with the type and sublayer in its name", (name, number, type, sublayer) => {
  expect(isOurSession(session(name, number))).toBe(true);
  const adopted = adoptSession("shop/lan", "t", session(name, number));
  expect(adopted.pseudowireType).toBe(type);
  expect(adopted.l2SpecificSublayer).toBe(sublayer);
});

it.each([
  ["l2tp-8", 5],
  ["l2xp-7", 5],
  ["l2tpeth0", 5],
  ["l2tp-7", 7],
])("does not adopt %s of type %d", (name, number) => {
  expect(isOurSession(session(name, number))).toBe(false);
});
