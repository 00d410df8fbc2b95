import { expect, it } from "vitest";
import { KERNEL } from "../../datapath/kernel/traits.ts";
import { USERSPACE } from "../../datapath/userspace/traits.ts";
import { API_VERSION, type L2tpSession, type L2tpTunnel } from "../api/types.ts";
import { previousCookie, whyNotPreviousCookie } from "./previous-cookie.ts";
import { resolve } from "./resolve.ts";

const NEW = "1111111122222222";

it("is accepted if it is another cookie of the same length", () => {
  expect(previousCookie("3333333344444444", NEW)).toBe("3333333344444444");
  expect(previousCookie("", NEW)).toBeNull();
});

it.each([
  ["the same cookie", NEW, "duplicates spec.cookies.receive; set it to the cookie"],
  [
    "a shorter cookie",
    "33333333",
    "4 bytes, but spec.cookies.receive has 8; use two cookies of the same",
  ],
])("refuses %s, without showing it", (_what, previous, message) => {
  const refused = () => previousCookie(previous, NEW);
  expect(refused).toThrow(message);
  expect(refused).not.toThrow(previous);
});

it("requires the userspace datapath", () => {
  const receivePrevious = { value: "3333333344444444" };
  const spec = { tunnelRef: { name: "t" }, cookies: { receive: { value: NEW }, receivePrevious } };
  expect(whyNotPreviousCookie({ spec }, USERSPACE)).toBeNull();
  expect(whyNotPreviousCookie({ spec }, KERNEL)).toBe(
    "spec.cookies.receivePrevious: the kernel accepts only one cookie for each session",
  );
  expect(whyNotPreviousCookie({ spec: { tunnelRef: { name: "t" } } }, KERNEL)).toBeNull();
});

function resolved(datapath: "Auto" | "Kernel") {
  const tunnel: L2tpTunnel = {
    ...{ apiVersion: API_VERSION, kind: "L2tpTunnel", metadata: { name: "t" } },
    spec: { nodeName: "here", remote: { address: "192.0.2.2" }, peerTunnelId: 1, datapath },
  };
  const cookies = { receive: { value: NEW }, receivePrevious: { value: "3333333344444444" } };
  const session: L2tpSession = {
    ...{ apiVersion: API_VERSION, kind: "L2tpSession" },
    metadata: { name: "lan", namespace: "shop" },
    spec: { tunnelRef: { name: "t" }, peerSessionId: 1, cookies },
  };
  const intake = {
    tunnels: new Map([["t", tunnel]]),
    sessions: new Map([["shop/lan", session]]),
    rejections: [],
  };
  return resolve(intake, {
    nodeName: "here",
    underlay: {
      route: () => ({ source: "192.0.2.1", mtu: 1500, type: "unicast" }),
      interfaceAddress: () => undefined,
      deviceToBind: () => null,
    },
    secrets: () => "",
    datapaths: { preferred: null, kernel: { UDP: null, IPv4: null, IPv6: null } },
    programmed: {
      tunnels: new Map(),
      kernelTunnels: new Set(),
      sessions: new Map(),
      underlayMtus: new Map(),
    },
  });
}

it("keeps a tunnel with datapath: Auto out of the kernel", () => {
  const { tunnels, sessions } = resolved("Auto");
  expect(tunnels.get("t")?.tunnel.datapath).toBe("Userspace");
  expect(tunnels.get("t")?.notInKernel).toBe(
    "L2tpSession shop/lan has spec.cookies.receivePrevious: the kernel accepts only one cookie for each session",
  );
  expect(sessions.get("shop/lan")?.session.previousRxCookie).toBe("3333333344444444");
});

it("refuses the session in a tunnel with datapath: Kernel", () => {
  const { tunnels, refusedSessions } = resolved("Kernel");
  expect(tunnels.get("t")?.tunnel.datapath).toBe("Kernel");
  expect(refusedSessions.get("shop/lan")).toEqual({
    condition: "Programmed",
    reason: "NotInKernel",
    message:
      "spec.cookies.receivePrevious: the kernel accepts only one cookie for each session, and L2tpTunnel t is in the kernel; set spec.datapath: Userspace on that tunnel, or omit receivePrevious",
  });
});
