import { describe, expect, it } from "vitest";
import { tunnel as modelTunnel } from "../../model/testdata.ts";
import { API_VERSION, type L2tpTunnel, type TunnelSpec } from "../api/types.ts";
import { keyedFields, keyedSession, localPrefixes } from "./keyed.ts";

const COOKIE = "1111111122222222";
const spec = (local: TunnelSpec["local"], more: Partial<TunnelSpec> = {}): TunnelSpec => ({
  ...{ nodeName: "here", encapsulation: "IP", keyed: true },
  ...{ remote: { address: "2001:db8:2::1" }, ...(local && { local }), ...more },
});
const prefixed = (prefix: string, address = "2001:db8:1::1") => spec({ address, prefix });
const NONE = new Map<string, string>();

describe("the prefix of a keyed tunnel", () => {
  it("is returned in canonical form, and only for valid tunnels of the node", () => {
    const object = (name: string, of: TunnelSpec): L2tpTunnel => ({
      ...{ apiVersion: API_VERSION, kind: "L2tpTunnel", metadata: { name }, spec: of },
    });
    const tunnels = [
      object("a", prefixed("2001:DB8:1:0::7/64")),
      object("b", prefixed("2001:db8:1::/64", "2001:db8:1::2")),
      object("away", { ...prefixed("2001:db8:3::/64", "2001:db8:3::1"), nodeName: "there" }),
      object("wrong", prefixed("2001:db8:4::/64")),
      object("remote", prefixed("2001:db8::/48", "2001:db8::1")),
      object("not-keyed", { ...prefixed("2001:db8:5::/64", "2001:db8:5::1"), keyed: false }),
      object("none", spec({ address: "2001:db8:6::1" })),
    ];
    const found = [...localPrefixes(tunnels, "here")];
    expect(found).toEqual(["2001:db8:1::/64", "2001:db8::/48"]);
  });

  it.each<[string, TunnelSpec, string]>([
    [
      "without the local address",
      prefixed("2001:db8:4::/64"),
      'spec.local.address: "2001:db8:1::1": not an address of spec.local.prefix 2001:db8:4::/64',
    ],
    [
      "with the remote",
      prefixed("2001:db8:2::/64", "2001:db8:2::2"),
      "contains spec.remote.address 2001:db8:2::1, which would be unreachable",
    ],
    [
      "with an invalid format",
      prefixed("1:2:3:4:5:6:7:8:9/64"),
      "not an IPv6 prefix; use a prefix such as",
    ],
  ])("is refused %s", (_what, of, message) => {
    expect(() => keyedFields(of, NONE)).toThrow(message);
  });

  it("is refused while it cannot be routed to the node", () => {
    const problems = new Map([["2001:db8:1::/64", "the loopback device lo is down"]]);
    expect(() => keyedFields(prefixed("2001:db8:1::/64"), problems)).toThrow("lo is down");
    expect(keyedFields(prefixed("2001:db8:1::/64"), NONE)).toEqual({
      ...{ keyed: true, localPrefix: "2001:db8:1::/64" },
    });
    expect(keyedFields(spec({ address: "2001:db8:1::1" }), problems)).toEqual({ keyed: true });
    expect(keyedFields({ ...spec(undefined), keyed: false }, problems)).toEqual({});
  });
});

describe("a session of a keyed tunnel", () => {
  const keyed = modelTunnel({ name: "t", tunnelId: 9, keyed: true });

  it("names its device by the tunnel's ID, because the session ID is not unique", () => {
    expect(keyedSession({ rxCookie: COOKIE, txCookie: COOKIE }, keyed)).toEqual({ deviceId: 9 });
    expect(keyedSession({ rxCookie: "", txCookie: "" }, modelTunnel({}))).toEqual({});
  });

  it.each([
    ["receive", "", COOKIE, "spec.cookies.receive: missing, but L2tpTunnel t is keyed"],
    ["transmit", COOKIE, "11111111", "spec.cookies.transmit: 4 bytes, but L2tpTunnel t is keyed"],
  ])("requires a %s cookie of eight bytes", (_which, rxCookie, txCookie, message) => {
    expect(() => keyedSession({ rxCookie, txCookie }, keyed)).toThrow(message);
  });
});
