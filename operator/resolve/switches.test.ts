/** Reasons why two sessions are not switched to each other. test/netns/switch.test.ts has the rest. */
import { describe, expect, it } from "vitest";
import type { KernelSupport } from "../../model/datapath.ts";
import {
  API_VERSION,
  type L2tpSession,
  type L2tpTunnel,
  type SessionSpec,
  type TunnelSpec,
} from "../api/types.ts";
import { resolve } from "./resolve.ts";

const tunnel = (name: string, host: number, spec: Partial<TunnelSpec> = {}): L2tpTunnel => ({
  apiVersion: API_VERSION,
  kind: "L2tpTunnel",
  metadata: { name },
  spec: {
    nodeName: "here",
    encapsulation: "UDP",
    local: { port: 5000 + host },
    remote: { address: `192.0.2.${host}` },
    peerTunnelId: 1,
    ...spec,
  },
});

const session = (name: string, on: string, to: string, spec: Partial<SessionSpec> = {}) =>
  ({
    apiVersion: API_VERSION,
    kind: "L2tpSession",
    metadata: { name, namespace: "shop" },
    spec: {
      tunnelRef: { name: on },
      peerSessionId: name.charCodeAt(0),
      attachment: { mode: "Switch", switchTo: { name: to } },
      ...spec,
    },
  }) satisfies L2tpSession;

const CAPABLE: KernelSupport = { UDP: null, IPv4: null, IPv6: null };
const WITHOUT_TC = { ...CAPABLE, redirects: "this kernel cannot load its module act_mirred" };

function resolved(
  tunnels: readonly L2tpTunnel[],
  sessions: readonly L2tpSession[],
  kernel: KernelSupport = CAPABLE,
) {
  return resolve(
    {
      tunnels: new Map(tunnels.map((item) => [item.metadata.name, item])),
      sessions: new Map(sessions.map((item) => [`shop/${item.metadata.name}`, item])),
      rejections: [],
    },
    {
      nodeName: "here",
      underlay: {
        deviceToBind: () => null,
        route: () => ({ source: "192.0.2.1", mtu: 1500, type: "unicast" }),
        interfaceAddress: () => undefined,
      },
      secrets: () => {
        throw new Error("no such secret");
      },
      datapaths: { preferred: null, kernel },
      programmed: {
        tunnels: new Map(),
        kernelTunnels: new Set(),
        sessions: new Map(),
        underlayMtus: new Map(),
      },
    },
  );
}

const PAIR = [session("a", "t", "b"), session("b", "u", "a")];

describe("the datapaths of a switch", () => {
  it.each([
    ["Kernel", "Kernel", true],
    ["Kernel", "Userspace", true],
    ["Userspace", "Userspace", false],
  ] as const)("%s and %s hand frames over by devices: %s", (left, right, byDevices) => {
    const tunnels = [tunnel("t", 2, { datapath: left }), tunnel("u", 3, { datapath: right })];
    const { sessions } = resolved(tunnels, PAIR);
    for (const [key, to] of [
      ["shop/a", "shop/b"],
      ["shop/b", "shop/a"],
    ] as const) {
      expect(sessions.get(key)?.switched).toEqual({ to, whyNot: null, byDevices });
      expect(sessions.get(key)?.session.switchTo).toBe(to);
    }
  });

  it("are userspace if tc cannot redirect frames, and the status says why", () => {
    const { tunnels, sessions } = resolved([tunnel("t", 2), tunnel("u", 3)], PAIR, WITHOUT_TC);
    expect(tunnels.get("t")?.tunnel.datapath).toBe("Userspace");
    expect(tunnels.get("t")?.notInKernel).toMatch(/shop\/a is in mode Switch: .*act_mirred/);
    expect(sessions.get("shop/a")?.switched).toMatchObject({ whyNot: null, byDevices: false });
  });

  it("refuse a session with datapath: Kernel if tc cannot redirect frames", () => {
    const tunnels = [tunnel("t", 2, { datapath: "Kernel" }), tunnel("u", 3)];
    const { refusedSessions, sessions } = resolved(tunnels, PAIR, WITHOUT_TC);
    const refusal = refusedSessions.get("shop/a");
    expect(refusal).toMatchObject({ condition: "Programmed", reason: "NotInKernel" });
    expect(refusal?.message).toMatch(/act_mirred.*spec\.datapath: Userspace/);
    const { whyNot } = sessions.get("shop/b")?.switched ?? {};
    expect(whyNot).toMatchObject({ reason: "PartnerRefused" });
    expect(sessions.get("shop/b")?.session.switchTo).toBeUndefined();
  });
});

it("refuses a session that is switched to itself, with or without the namespace", () => {
  const itself = { mode: "Switch", switchTo: { namespace: "shop", name: "a" } } as const;
  const { refusedSessions } = resolved(
    [tunnel("t", 2)],
    [session("a", "t", "", { attachment: itself })],
  );
  expect(refusedSessions.get("shop/a")).toMatchObject({ condition: "Accepted", reason: "Invalid" });
});
