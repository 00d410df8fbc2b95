import { expect, it } from "vitest";
import type { Tunnel } from "../../model/model.ts";
import { tunnel, tunnelControl } from "../../model/testdata.ts";
import { asEarlierAgentPut, withSocketOwner } from "./earlier-agent.ts";
import { controlTunnel, wholeTunnel } from "./halves.ts";

const PLAIN = tunnel({ name: "t:control", datapath: "Userspace", control: tunnelControl() });

it("gives the socket of an earlier agent's tunnel to the kernel, and lists the tunnel as that agent put it", () => {
  const put = { ...PLAIN, handsOver: true } as Tunnel;
  const kept = withSocketOwner(put);
  expect(kept.socketOwner).toBe("ManagedKernel");
  expect(asEarlierAgentPut(kept)).toEqual(put);
});

it("lists a tunnel of this version's agent as that agent put it", () => {
  const wanted = tunnel({ name: "t", datapath: "ManagedKernel", control: tunnelControl() });
  const kept = withSocketOwner(controlTunnel(wanted));
  expect(kept.socketOwner).toBe("ManagedKernel");
  expect(wholeTunnel(asEarlierAgentPut(kept))).toEqual(wanted);
});

it("does not change other tunnels", () => {
  expect(withSocketOwner(PLAIN)).toBe(PLAIN);
  expect(asEarlierAgentPut({ ...PLAIN, socketOwner: "Other" }).socketOwner).toBe("Other");
});
