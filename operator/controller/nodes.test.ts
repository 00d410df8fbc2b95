import { expect, it } from "vitest";
import { internalAddresses, isReady, keepOfNode } from "./nodes.ts";

it("keeps only the used fields of a node", () => {
  const node = keepOfNode({
    metadata: { name: "n1", uid: "u", resourceVersion: "1", labels: { a: "b" } },
    status: {
      addresses: [
        { type: "Hostname", address: "n1" },
        { type: "InternalIP", address: "192.0.2.1" },
      ],
      conditions: [
        { type: "MemoryPressure", status: "False" },
        { type: "Ready", status: "True" },
      ],
    },
  });
  expect(node.metadata).toEqual({ name: "n1", uid: "u", resourceVersion: "1" });
  expect(internalAddresses(node)).toEqual(["192.0.2.1"]);
  expect(isReady(node)).toBe(true);
  expect(isReady({ metadata: { name: "n2" } })).toBe(false);
});
