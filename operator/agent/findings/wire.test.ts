import { expect, it } from "vitest";
import type { TunnelState } from "../../../datapath/datapath.ts";
import { createEndpointCounters } from "../../../model/model.ts";
import { session, tunnel, tunnelControl } from "../../../model/testdata.ts";
import type { IpPacket } from "../../../net/ip-packet.ts";
import { type TunnelWire, WireReader } from "./wire.ts";

const COOKIE = "a1b2c3d4";
const ours = session({ key: "shop/lan", sessionId: 11, rxCookie: COOKIE });
/** An ARP request of 46 bytes. */
const FRAME = `ffffffffffff0200000000020806${"00".repeat(32)}`;
const RIGHT = `00030000 0000000b ${COOKIE} 00000000 ${FRAME}`;

interface Sent {
  readonly hex: string;
  readonly outgoing?: boolean;
  readonly packet?: Partial<IpPacket>;
}

function read(
  messages: readonly Sent[],
  change: Partial<TunnelState> = {},
  own = ours,
): TunnelWire {
  const state: TunnelState = {
    tunnel: tunnel({ encapsulation: "UDP" }),
    endpoint: createEndpointCounters(),
    ...{ lastSendError: null, lastUnknownSession: null, lastStranger: null },
    ...change,
  };
  const { local, remote } = state.tunnel;
  const reader = new WireReader(state, { sessions: [own], isOthers: (id) => id === 12 });
  for (const { hex, outgoing = false, packet } of messages) {
    const payload = Buffer.from(hex.replaceAll(" ", ""), "hex");
    const [from, to] = outgoing ? [local, remote] : [remote, local];
    reader.take({
      outgoing,
      payload,
      packet: {
        ...{ source: from.address, destination: to.address, protocol: 17 },
        ...{ sourcePort: from.port, destinationPort: to.port },
        ...{ payloadAt: 28, payloadBytes: payload.length, isFragmented: false },
        ...packet,
      },
    });
  }
  return reader.result();
}

const faultsOf = (wire: TunnelWire) =>
  Object.entries(wire.sessions.get("shop/lan") ?? {}).filter(([, count]) => count > 0);

it("finds no fault in correct messages", () => {
  const wire = read([{ hex: RIGHT }, { hex: RIGHT, outgoing: true }]);
  expect(wire).toMatchObject({ received: 1, sent: 1, controlMessages: 0 });
  expect(wire.unknownSessions).toEqual({ count: 0, last: null });
  expect(faultsOf(wire)).toEqual([]);
  expect(wire.rightMessages.get("shop/lan")).toBe(1);
});

it.each<[string, Sent, unknown]>([
  ["a wrong cookie", { hex: RIGHT.replace(COOKIE, "ffffffff") }, "rxCookieDiscards"],
  ["a missing sublayer", { hex: `00030000 0000000b ${COOKIE} ${FRAME}` }, "rxSublayerSuspect"],
  ["a message that is too short", { hex: `00030000 0000000b ${COOKIE} 0000` }, "rxInvalid"],
  ["a frame that is too short", { hex: `00030000 0000000b ${COOKIE} 00000000 ff` }, "rxInvalid"],
  ["another port of the remote", { hex: RIGHT, packet: { sourcePort: 9 } }, "rxSourceMismatch"],
  ["another address", { hex: RIGHT, packet: { source: "192.0.2.9" } }, "rxSourceMismatch"],
])("finds %s", (_, sent, counter) => {
  expect(faultsOf(read([sent]))).toEqual([[counter, 1]]);
});

it("checks truncated captures by their length on the wire", () => {
  const cut = RIGHT.slice(0, -40);
  expect(faultsOf(read([{ hex: cut, packet: { payloadBytes: 1400 } }]))).toEqual([]);
});

it("finds unknown session IDs in messages of the remote", () => {
  const to = (id: string) => `00030000 ${id} 00000000`;
  const { unknownSessions } = read([
    { hex: to("0000000d") },
    { hex: to("000003e7") },
    // The session of another tunnel, and a message of another host.
    { hex: to("0000000c") },
    { hex: to("0000000d"), packet: { source: "192.0.2.9" } },
  ]);
  expect(unknownSessions).toEqual({ count: 2, last: 999 });
});

it("finds L2TPv3 messages to another destination port", () => {
  const packet = { destinationPort: 5009 };
  expect(read([{ hex: RIGHT, packet }]).otherPorts).toEqual({ count: 1, last: 5009 });
  expect(read([{ hex: "08000000 00000100", packet }]).otherPorts.count).toBe(0);
});

it("names the unexpected source of a session's messages", () => {
  const packet = { source: "192.0.2.9", sourcePort: 7 };
  const last = { address: "192.0.2.9", port: 7 };
  expect(read([{ hex: RIGHT, packet }]).otherSources).toEqual({ count: 1, last });
});

it("accepts another source port of a peer with a control connection", () => {
  const control = { remote: tunnel().remote } as NonNullable<TunnelState["control"]>;
  const managed = { tunnel: tunnel({ control: tunnelControl() }), control };
  expect(faultsOf(read([{ hex: RIGHT, packet: { sourcePort: 9 } }], managed))).toEqual([]);
});

it("counts control messages of the remote", () => {
  expect(read([{ hex: "c803000c 00000000 00000000" }]).controlMessages).toBe(1);
});

it("finds a missing sublayer in a truncated capture of a long IP datagram", () => {
  const bare = session({ ...ours, pseudowireType: "IP" });
  const header = `00030000 0000000b ${COOKIE}`;
  // 1,400 bytes of IPv4, and of IPv6.
  for (const datagram of [`45000578${"00".repeat(56)}`, `60000000055011ff${"00".repeat(52)}`]) {
    const sent = (sublayer: string) => {
      const hex = `${header} ${sublayer} ${datagram}`;
      const bytes = 12 + sublayer.length / 2 + 1400;
      return read([{ hex, packet: { payloadBytes: bytes } }], {}, bare);
    };
    expect(faultsOf(sent(""))).toEqual([["rxSublayerSuspect", 1]]);
    expect(faultsOf(sent("00000000"))).toEqual([]);
  }
});
