import { expect, it } from "vitest";
import { tunnel, tunnelControl } from "../../model/testdata.ts";
import { KERNEL } from "../kernel/traits.ts";
import { MANAGED_KERNEL } from "./traits.ts";

const HOST = { kernel: { UDP: null, IPv4: null, IPv6: null }, isOpen: true };
const device = { name: "red", index: 9 };

it("serves the tunnels whose sockets the kernel cannot create", () => {
  for (const change of [{}, { device }, { control: tunnelControl() }]) {
    const isManaged = Object.keys(change).length > 0;
    expect(MANAGED_KERNEL.serves(tunnel(change))).toBe(isManaged);
    expect(KERNEL.serves(tunnel(change))).toBe(!isManaged);
  }
});

it("accepts a static tunnel in a VRF, also with datapath Auto, but only over UDP", () => {
  expect(MANAGED_KERNEL.whyNot(tunnel({ device }), HOST)).toBeNull();
  expect(MANAGED_KERNEL.whyNot(tunnel({ device, encapsulation: "IP" }), HOST)).toBe(
    "the kernel's L2TP over IP cannot be bound to red",
  );
});

it("is not chosen for a control connection with datapath Auto, in a VRF or not", () => {
  const managed = tunnel({ device, control: tunnelControl() });
  expect(MANAGED_KERNEL.whyNot(managed, HOST)).toContain("only with spec.datapath Kernel");
  expect(MANAGED_KERNEL.whyNot(managed, { ...HOST, isOpen: false })).toBeNull();
});

it("replaces a tunnel whose VRF was recreated: its socket is bound to the old one", () => {
  const again = tunnel({ device: { ...device, index: 12 } });
  expect(MANAGED_KERNEL.tunnelDifference(tunnel({ device }), again)).toBe("replace");
});
