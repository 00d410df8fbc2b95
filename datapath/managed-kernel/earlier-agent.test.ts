import { expect, it } from "vitest";
import type { Tunnel } from "../../model/model.ts";
import { tunnel, tunnelControl } from "../../model/testdata.ts";
import { asEarlierAgentPut, withSocketOwner } from "./earlier-agent.ts";
import { controlTunnel, wholeTunnel } from "./halves.ts";

const PLAIN = tunnel({ name: "t:control", datapath: "Userspace", control: tunnelControl() });

it("gives the socket away that an agent of an earlier version hands over, and lists the tunnel as that put it", () => {
  const put = { ...PLAIN, handsOver: true } as Tunnel;
  const kept = withSocketOwner(put);
  expect(kept.socketOwner).toBe("ManagedKernel");
  expect(asEarlierAgentPut(kept)).toEqual(put);
});

it("takes and lists a tunnel of this version's agent so that it knows it again", () => {
  const wanted = tunnel({ name: "t", datapath: "ManagedKernel", control: tunnelControl() });
  const kept = withSocketOwner(controlTunnel(wanted));
  expect(kept.socketOwner).toBe("ManagedKernel");
  expect(wholeTunnel(asEarlierAgentPut(kept))).toEqual(wanted);
});

it("leaves other tunnels alone", () => {
  expect(withSocketOwner(PLAIN)).toBe(PLAIN);
  expect(asEarlierAgentPut({ ...PLAIN, socketOwner: "Other" }).socketOwner).toBe("Other");
});
