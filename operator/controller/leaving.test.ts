import { expect, it } from "vitest";
import { FINALIZER, NODE_LABEL, REMOVED } from "../api/placement.ts";
import { API_VERSION, type Condition, type L2tpTunnel } from "../api/types.ts";
import { decideLeaving, type NodeState } from "./leaving.ts";

const TIMEOUT_MS = 300_000;
const WELL: NodeState = { exists: true, notReadyMs: 0, leavingMs: 1000 };

function leaving(
  change: Partial<L2tpTunnel["metadata"]> = {},
  programmed: Partial<Condition> = {},
) {
  const condition: Condition = {
    type: "Programmed",
    status: "True",
    reason: "Programmed",
    message: "",
    observedGeneration: 2,
    lastTransitionTime: "2026-01-01T00:00:00Z",
    ...programmed,
  };
  const object: L2tpTunnel = {
    apiVersion: API_VERSION,
    kind: "L2tpTunnel",
    metadata: {
      name: "t",
      generation: 2,
      deletionTimestamp: "2026-01-01T00:00:00Z",
      finalizers: [FINALIZER],
      labels: { [NODE_LABEL]: "n1" },
      ...change,
    },
    spec: { nodeName: "n1", remote: { address: "192.0.2.2" }, peerTunnelId: 1 },
    status: { conditions: [condition] },
  };
  return object;
}

it("waits until the node has removed the object", () => {
  expect(decideLeaving(leaving(), WELL, TIMEOUT_MS)).toEqual({ do: "wait", milliseconds: null });
  const removed = leaving({}, { status: "False", reason: REMOVED });
  expect(decideLeaving(removed, WELL, TIMEOUT_MS)).toEqual({ do: "release", abandoned: null });
});

it("ignores a status of an older generation", () => {
  const stale = leaving({}, { status: "False", reason: REMOVED, observedGeneration: 1 });
  expect(decideLeaving(stale, WELL, TIMEOUT_MS).do).toBe("wait");
});

it("releases an object that was never on a node, and ignores other finalizers", () => {
  expect(decideLeaving(leaving({ labels: {} }), WELL, TIMEOUT_MS).do).toBe("release");
  expect(decideLeaving(leaving({ finalizers: ["other/x"] }), WELL, TIMEOUT_MS).do).toBe("nothing");
});

it("does not wait for a deleted node", () => {
  const gone = { ...WELL, exists: false };
  expect(decideLeaving(leaving(), gone, TIMEOUT_MS)).toEqual({
    do: "release",
    abandoned: expect.stringContaining("no longer in the cluster"),
  });
});

it("waits for a node that is not ready until the timeout", () => {
  const ill = (notReadyMs: number) => decideLeaving(leaving(), { ...WELL, notReadyMs }, TIMEOUT_MS);
  expect(ill(100_000)).toEqual({ do: "wait", milliseconds: 200_000 });
  expect(ill(300_000)).toEqual({
    do: "release",
    abandoned: expect.stringContaining("5 minutes"),
  });
});

it("waits for an agent that has never reported a status until the timeout", () => {
  const unseen = leaving({}, { type: "Accepted" });
  const after = (leavingMs: number) => decideLeaving(unseen, { ...WELL, leavingMs }, TIMEOUT_MS);
  expect(after(100_000)).toEqual({ do: "wait", milliseconds: 200_000 });
  expect(after(300_000)).toMatchObject({
    do: "release",
    abandoned: expect.stringMatching(/reported a status/),
  });
});
