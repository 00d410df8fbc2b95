import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { manifestOf, SAMPLES, type Sample } from "../../operator/api/testdata.ts";
import { SESSIONS, TUNNELS } from "../../operator/api/types.ts";
import { collectionPath, objectPath } from "../../operator/kube/object.ts";
import { CrdServer } from "../harness/crd-server.ts";
import { faultsOf, ownFaultsOf, rejectionOf } from "./faults.ts";

let server: CrdServer;

beforeAll(async () => {
  server = await CrdServer.start();
});

afterAll(() => server.stop());

describe("a current API server", () => {
  it.each(SAMPLES.filter(({ fault }) => fault === null || fault === "ours"))(
    "accepts $name",
    async (sample) => {
      expect(await rejectionOf(server, sample)).toBeNull();
    },
  );

  it.each(SAMPLES.filter(({ fault }) => fault !== null && fault !== "ours"))(
    "rejects $name",
    async (sample) => {
      expect(await rejectionOf(server, sample)).toMatch(/invalid|unknown field/);
    },
  );

  it.each(SAMPLES.filter(({ fault }) => fault === "cel"))(
    "finds the same faults in $name as our validation",
    async (sample) => {
      const message = await rejectionOf(server, sample);
      expect(faultsOf(message)).toEqual(ownFaultsOf(sample));
    },
  );

  it("does not move a tunnel to another node, and says what to do", async () => {
    const [sample] = SAMPLES;
    const body = manifestOf(sample as Sample, "stays") as { spec: object };
    await server.client.request({ method: "POST", path: collectionPath(TUNNELS), body });
    const moved = { ...body, spec: { ...body.spec, nodeName: "n2" } };
    await expect(server.client.apply(objectPath(TUNNELS, "stays"), moved, "test")).rejects.toThrow(
      /immutable; create another tunnel/,
    );
  });

  it("selects tunnels by node, and sessions by tunnel", async () => {
    const [tunnel] = SAMPLES;
    const session = SAMPLES.find(({ name }) => name === "a session");
    await server.client.request({
      method: "POST",
      path: collectionPath(TUNNELS),
      body: manifestOf(tunnel as Sample, "selected"),
    });
    await server.client.request({
      method: "POST",
      path: collectionPath(SESSIONS, "default"),
      body: manifestOf(session as Sample, "selected"),
    });
    const count = async (path: string, fieldSelector: string) => {
      const list = await server.client.get<{ items: unknown[] }>(path, { fieldSelector });
      return list.items.length;
    };
    expect(await count(collectionPath(TUNNELS), "spec.nodeName=n1")).toBeGreaterThan(0);
    expect(await count(collectionPath(TUNNELS), "spec.nodeName=elsewhere")).toBe(0);
    expect(await count(collectionPath(SESSIONS), "spec.tunnelRef.name=branch")).toBe(1);
    expect(await count(collectionPath(SESSIONS), "spec.tunnelRef.name=other")).toBe(0);
  });
});
