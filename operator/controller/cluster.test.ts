import { describe, expect, it } from "vitest";
import { API_VERSION, type L2tpSession, type L2tpTunnel } from "../api/types.ts";
import { Index } from "./cluster.ts";

const tunnel = (nodeName: string, given?: string): L2tpTunnel => ({
  apiVersion: API_VERSION,
  kind: "L2tpTunnel",
  metadata: { name: "t" },
  spec: { nodeName, remote: { address: "192.0.2.2" }, peerTunnelId: 1 },
  ...(given === undefined ? {} : { status: { nodeName: given } }),
});
const session = (name: string): L2tpSession => ({
  apiVersion: API_VERSION,
  kind: "L2tpSession",
  metadata: { name: "s", namespace: "shop" },
  spec: { tunnelRef: { name }, peerSessionId: 1 },
});

describe("Index", () => {
  it("moves tunnels between nodes, and sessions between tunnels", () => {
    const index = new Index();
    expect(index.tunnel("t", tunnel("n1"))).toEqual(["n1"]);
    expect(index.tunnelsOf("n1")).toEqual(["t"]);
    expect(index.tunnel("t", tunnel("n2"))).toEqual(["n1", "n2"]);
    expect(index.tunnelsOf("n1")).toEqual([]);
    expect(index.homeOf("t")).toBe("n2");
    expect(index.session("shop/s", session("t"))).toEqual(["t"]);
    expect(index.session("shop/s", session("u"))).toEqual(["t", "u"]);
    expect(index.sessionsOf("t")).toEqual([]);
    expect(index.sessionsOf("u")).toEqual(["shop/s"]);
    expect(index.session("shop/s", undefined)).toEqual(["u"]);
    expect(index.tunnel("t", undefined)).toEqual(["n2"]);
    expect(index.homeOf("t")).toBeUndefined();
  });

  it("indexes a tunnel by its assigned node", () => {
    const index = new Index();
    expect(index.tunnel("t", tunnel("n2", "n1"))).toEqual(["n1"]);
  });
});
