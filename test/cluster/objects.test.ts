/** Every invalid sample on an API server without CEL: the API server or the controller rejects it. */
import { afterAll, describe, expect, it } from "vitest";
import { manifestOf, SAMPLES, type Sample } from "../../operator/api/testdata.ts";
import { KubeError } from "../../operator/kube/errors.ts";
import type { KubeObject } from "../../operator/kube/object.ts";
import { Cluster, type ClusterNode, sessionPair, tunnelPair } from "../harness/cluster.ts";
import { until } from "../harness/wait.ts";

const cluster = await Cluster.open();
const [n1, n2] = cluster.nodes as [ClusterNode, ClusterNode];
const named = SAMPLES.map((sample, index) => ({ ...sample, id: `sample-${index}` }));

afterAll(() => cluster.close());

async function verdict(sample: Sample & { id: string }): Promise<"rejected" | "taken"> {
  try {
    await cluster.create(manifestOf(sample, sample.id));
    return "taken";
  } catch (error) {
    expect(error).toBeInstanceOf(KubeError);
    expect((error as KubeError).status).toBe(422);
    return "rejected";
  }
}

describe("an API server without CEL", () => {
  it.each(named.filter(({ fault }) => fault === "schema"))("rejects $name", async (sample) => {
    expect(await verdict(sample)).toBe("rejected");
  });

  it.each(named.filter(({ fault }) => fault === "cel" || fault === "ours"))(
    "accepts $name, and the controller refuses it",
    async (sample) => {
      expect(await verdict(sample)).toBe("taken");
      const object = manifestOf(sample, sample.id) as KubeObject;
      const condition = await cluster.condition(object, "Accepted", "False");
      expect(condition).toMatchObject({
        reason: "Invalid",
        message: expect.stringMatching(/^spec\./),
      });
      // An object that was never on a node has no finalizer.
      const { metadata } = (await cluster.find(
        sample.kind,
        sample.id,
        object.metadata.namespace,
      )) as KubeObject;
      expect(metadata.finalizers ?? []).toEqual([]);
      await cluster.remove(object);
    },
  );
});

describe("conflicting objects", () => {
  it("keeps the first object, and refuses the second one", async () => {
    const [tunnel] = tunnelPair(n1, n2, 5300) as [KubeObject & { spec: object }, KubeObject];
    const rival = { ...tunnel, metadata: { name: "rival" } };
    const [session] = sessionPair(n1, n2, 5300, 300) as [KubeObject, KubeObject];
    const other = { ...session, metadata: { ...session.metadata, name: "rival" } };
    await cluster.apply(tunnel, session);
    await cluster.condition(tunnel, "Programmed", "True");
    await cluster.condition(session, "Programmed", "True");
    await cluster.apply(rival, other);
    const conflict = await cluster.condition(rival, "Accepted", "False", "Conflict");
    expect(conflict.message).toContain("already used by L2tpTunnel ab-5300 on this node");
    const lost = await cluster.condition(other, "Accepted", "False", "Conflict");
    expect(lost.message).toContain("already used by L2tpSession default/s300-a on this node");
    await until("an Event says so", async () =>
      (await cluster.eventsOf("rival")).some((event) => event.startsWith("Conflict")),
    );
    await cluster.condition(tunnel, "Programmed", "True");
    await cluster.remove(other, session, rival, tunnel);
  });

  it("does not move a tunnel to another node", async () => {
    const [tunnel] = tunnelPair(n1, n2, 5310) as [KubeObject & { spec: object }, KubeObject];
    await cluster.apply(tunnel);
    await cluster.condition(tunnel, "Programmed", "True");
    await cluster.apply({ ...tunnel, spec: { ...tunnel.spec, nodeName: n2.name } });
    const refused = await cluster.condition(tunnel, "Accepted", "False", "NodeImmutable");
    expect(refused.message).toContain("the tunnel is on node n1");
    expect(
      (await cluster.ctl<{ name: string }[]>(n1.name, "tunnels")).map(({ name }) => name),
    ).toEqual(["ab-5310"]);
    await cluster.remove(tunnel);
  });

  it("refuses a tunnel of an unknown node", async () => {
    const tunnel = {
      ...(tunnelPair(n1, n2, 5320)[0] as KubeObject & { spec: object }),
      metadata: { name: "elsewhere" },
    };
    await cluster.apply({ ...tunnel, spec: { ...tunnel.spec, nodeName: "n9" } });
    const refused = await cluster.condition(tunnel, "Accepted", "False", "NoNode");
    expect(refused.message).toContain("kubectl get nodes");
    await cluster.remove(tunnel);
  });

  it("accepts sessions only of allowed namespaces", async () => {
    const allowedNamespaces = { from: "Selector", selector: { matchLabels: { circuit: "yes" } } };
    const [tunnel] = tunnelPair(n1, n2, 5330, { allowedNamespaces }) as [KubeObject, KubeObject];
    const [session] = sessionPair(n1, n2, 5330, 330) as [KubeObject, KubeObject];
    await cluster.apply(tunnel, session);
    const refused = await cluster.condition(session, "Accepted", "False", "NamespaceNotAllowed");
    expect(refused.message).toContain("lacks circuit=yes");
    const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name: "default" } };
    await cluster.apply({
      ...namespace,
      metadata: { name: "default", labels: { circuit: "yes" } },
    });
    await cluster.condition(session, "Programmed", "True");
    // Without the label the session is removed from the node.
    await cluster.apply(namespace);
    await cluster.condition(session, "Programmed", "False", "NotAccepted");
    expect(await cluster.ctl<object[]>(n1.name, "sessions")).toEqual([]);
    await cluster.remove(session, tunnel);
  });
});

describe("cookies in a Secret", () => {
  const [tunnel] = tunnelPair(n1, n2, 5340) as [KubeObject, KubeObject];
  const cookies = { receive: { valueFrom: { secretKeyRef: { name: "lan", key: "rx" } } } };
  const [session] = sessionPair(n1, n2, 5340, 340, { cookies }) as [KubeObject, KubeObject];
  const secret = (rx: string) => ({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "lan", namespace: "default" },
    stringData: { rx },
  });

  it("waits for the Secret, reports an invalid value, and follows changes", async () => {
    await cluster.apply(tunnel, session);
    const missing = await cluster.condition(session, "Programmed", "False", "NoSecret");
    expect(missing.message).toContain("Secret default/lan not found; create it");
    await cluster.apply(secret("not hex"));
    const wrong = await cluster.condition(session, "Programmed", "False", "NotAccepted");
    expect(wrong.message).toContain("key rx of Secret default/lan is not hexadecimal");
    expect(wrong.message).not.toContain("not hex;");
    await cluster.apply(secret("a1b2c3d4"));
    await cluster.condition(session, "Programmed", "True");
    expect(await cookieBytes()).toBe("cookies=4/0");
    // A rotated cookie is applied. An invalid one does not affect the running session.
    await cluster.apply(secret("a1b2c3d4e5f60718"));
    await until("the new cookie is used", async () => (await cookieBytes()) === "cookies=8/0");
    await cluster.apply(secret("gone"));
    await cluster.condition(session, "Programmed", "False");
    expect(await cookieBytes()).toBe("cookies=8/0");
    await cluster.remove(session, tunnel, secret("") as KubeObject);
  });

  async function cookieBytes(): Promise<string | undefined> {
    const rows = await cluster.ctl<{ settings: string[] }[]>(n1.name, "dump");
    return rows.flatMap(({ settings }) => settings).find((text) => text.startsWith("cookies="));
  }
});
