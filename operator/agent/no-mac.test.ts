import { expect, it } from "vitest";
import { session } from "../../model/testdata.ts";
import type { L2tpSession } from "../api/types.ts";
import { requireNoMac } from "./no-mac.ts";

const MAC = "02:00:5e:00:53:01";
const object = { spec: { pseudowireType: "IP" } } as L2tpSession;
const bare = { object, session: session({ pseudowireType: "IP" }) };

it("rejects a MAC address, and IPAM that needs one, only for a session of type IP", () => {
  expect(() => requireNoMac(bare, { mac: MAC })).toThrow(
    `mac ${MAC}: L2tpSession default/s1 has spec.pseudowireType IP, whose interface has no MAC address`,
  );
  expect(() => requireNoMac(bare, { mac: null, ipamType: "dhcp" })).toThrow(/^ipam\.type dhcp: /);
  for (const ipamType of [null, "host-local", "static"]) {
    expect(() => requireNoMac(bare, { mac: null, ipamType })).not.toThrow();
  }
  const ethernet = { ...bare, session: session() };
  expect(() => requireNoMac(ethernet, { mac: MAC, ipamType: "dhcp" })).not.toThrow();
});
