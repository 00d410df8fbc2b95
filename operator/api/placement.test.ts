import { describe, expect, it } from "vitest";
import { acceptanceOf, nodeLabel } from "./placement.ts";
import { API_VERSION, type Condition, type L2tpTunnel, type TunnelStatus } from "./types.ts";

it("shortens a node name that is too long for a label", () => {
  const long = `${"worker.".repeat(20)}example`;
  expect(nodeLabel(long)).toMatch(/^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$/);
  expect(nodeLabel(long)).not.toBe(nodeLabel(`${long}2`));
  expect(nodeLabel("n1")).toBe("n1");
});

describe("acceptanceOf", () => {
  const accepted = (status: Condition["status"], observedGeneration: number): Condition => ({
    type: "Accepted",
    status,
    reason: "Valid",
    message: "The object is valid.",
    observedGeneration,
    lastTransitionTime: "2026-01-01T00:00:00Z",
  });
  const tunnel = (status?: TunnelStatus): L2tpTunnel => ({
    apiVersion: API_VERSION,
    kind: "L2tpTunnel",
    metadata: { name: "t", generation: 3 },
    spec: { nodeName: "n1", remote: { address: "192.0.2.2" }, peerTunnelId: 1 },
    ...(status && { status }),
  });

  it.each<[string, TunnelStatus | undefined, string]>([
    ["no status", undefined, "pending"],
    ["an older generation", { conditions: [accepted("True", 2)] }, "pending"],
    ["no id yet", { nodeName: "n1", conditions: [accepted("True", 3)] }, "pending"],
    ["a refusal", { conditions: [accepted("False", 3)] }, "refused"],
    [
      "acceptance of this generation",
      { nodeName: "n1", tunnelId: 9, conditions: [accepted("True", 3)] },
      "accepted",
    ],
  ])("with %s", (_name, status, state) => {
    expect(acceptanceOf(tunnel(status)).state).toBe(state);
  });
});
