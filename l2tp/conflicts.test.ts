import { describe, expect, it } from "vitest";
import { tunnelControl } from "../test/harness/datapath.ts";
import { allocateId, settleSessions, settleTunnels } from "./conflicts.ts";
import { session, tunnel } from "./testdata.ts";

describe("settleTunnels", () => {
  it("lets tunnels share a local port", () => {
    const tunnels = [
      tunnel({ name: "a", tunnelId: 1, remote: { address: "192.0.2.2", port: 5000 } }),
      tunnel({ name: "b", tunnelId: 2, remote: { address: "192.0.2.3", port: 5000 } }),
    ];
    expect(settleTunnels(tunnels, new Set()).accepted).toHaveLength(2);
  });

  it("gives a tunnel id to the one that has it already", () => {
    const tunnels = [tunnel({ name: "a", tunnelId: 1 }), tunnel({ name: "b", tunnelId: 1 })];
    const { accepted, refused } = settleTunnels(tunnels, new Set(["b"]));
    expect(accepted.map(({ name }) => name)).toEqual(["b"]);
    expect(refused.get("a")).toMatchObject({ path: "spec.tunnelId", value: 1 });
  });

  it("gives a peer one control connection, also where it is a backup", () => {
    const to = (address: string) => ({ address, port: 1701 });
    const tunnels = [
      tunnel({ name: "a", tunnelId: 1, remote: to("192.0.2.2"), control: tunnelControl() }),
      tunnel({
        name: "b",
        tunnelId: 2,
        remote: to("192.0.2.3"),
        control: tunnelControl({ backups: [to("192.0.2.4"), to("192.0.2.2")] }),
      }),
    ];
    expect(settleTunnels(tunnels, new Set()).refused.get("b")).toMatchObject({
      path: "spec.backup[1]",
      reason: "L2tpTunnel a has the control connection between 192.0.2.1 and 192.0.2.2",
    });
    expect(settleTunnels(tunnels, new Set(["b"])).refused.get("a")?.path).toBe("spec.control");
  });

  it("refuses a second tunnel between the same addresses and ports, but not over IP", () => {
    const pair = (encapsulation: "UDP" | "IP") => [
      tunnel({ name: "a", tunnelId: 1, encapsulation }),
      tunnel({ name: "b", tunnelId: 2, encapsulation }),
    ];
    expect([...settleTunnels(pair("UDP"), new Set()).refused.keys()]).toEqual(["b"]);
    expect(settleTunnels(pair("IP"), new Set()).refused.size).toBe(0);
  });
});

it("refuses a second session of the same id, whatever its tunnel", () => {
  const sessions = [
    session({ key: "x/b", tunnel: "t2", sessionId: 7 }),
    session({ key: "x/a", tunnel: "t1", sessionId: 7 }),
    session({ key: "x/c", sessionId: 8 }),
  ];
  const { accepted, refused } = settleSessions(sessions, new Set());
  expect(accepted.map(({ key }) => key)).toEqual(["x/a", "x/c"]);
  expect(refused.get("x/b")?.reason).toContain("x/a");
});

it("allocates the same id for the same name, and steps over what is taken", () => {
  const first = allocateId("shop/lan", new Set());
  expect(allocateId("shop/lan", new Set())).toBe(first);
  expect(allocateId("shop/lan", new Set([first, first + 1]))).toBe(first + 2);
  expect(first).toBeGreaterThan(0);
});
