import { describe, expect, it } from "vitest";
import { withoutKernel } from "../../datapath/kernel/support.ts";
import type { KernelSupport } from "../../model/datapath.ts";
import {
  API_VERSION,
  type L2tpSession,
  type L2tpTunnel,
  type SessionSpec,
  type TunnelSpec,
} from "../api/types.ts";
import { interfaceCondition } from "./node-interfaces.ts";
import { resolve } from "./resolve.ts";

const tunnel = (spec: Partial<TunnelSpec> = {}): L2tpTunnel => ({
  ...{ apiVersion: API_VERSION, kind: "L2tpTunnel", metadata: { name: "t" } },
  spec: {
    ...{ nodeName: "here", remote: { address: "192.0.2.2" }, peerTunnelId: 1 },
    ...{ allowedInterfaces: ["eth*", "edge0"], ...spec },
  },
});

const session = (
  name: string,
  attachment: SessionSpec["attachment"],
  spec: Partial<SessionSpec> = {},
  namespace = "shop",
): L2tpSession => ({
  ...{ apiVersion: API_VERSION, kind: "L2tpSession", metadata: { name, namespace } },
  spec: {
    ...{ tunnelRef: { name: "t" }, peerSessionId: 1, ...spec },
    attachment: { mode: "Interface", ...attachment },
  },
});

const KERNEL: KernelSupport = { UDP: null, IPv4: null, IPv6: null };

function resolved(
  sessions: readonly L2tpSession[],
  {
    spec,
    kernel = withoutKernel("no"),
  }: { spec?: Partial<TunnelSpec>; kernel?: KernelSupport } = {},
) {
  const keyed = sessions.map(
    (one) => [`${one.metadata.namespace}/${one.metadata.name}`, one] as const,
  );
  const intake = {
    tunnels: new Map([["t", tunnel(spec)]]),
    sessions: new Map(keyed),
    rejections: [],
  };
  const nothing = { tunnels: new Map(), sessions: new Map(), underlayMtus: new Map() };
  return resolve(intake, {
    nodeName: "here",
    underlay: {
      deviceToBind: () => null,
      route: () => ({ source: "192.0.2.1", mtu: 1500, type: "unicast" }),
      interfaceAddress: () => undefined,
    },
    secrets: () => {
      throw new Error("no such secret");
    },
    datapaths: { preferred: null, kernel },
    programmed: { ...nothing, kernelTunnels: new Set() },
  });
}

const refusal = (of: ReturnType<typeof resolved>, key = "shop/lan") => of.refusedSessions.get(key);

describe("a session of an interface", () => {
  it("is refused unless the tunnel allows the interface", () => {
    expect(resolved([session("lan", { interface: "eth1" })]).refusedSessions).toEqual(new Map());
    const spec = { allowedInterfaces: ["eth10"] };
    expect(refusal(resolved([session("lan", { interface: "eth1" })], { spec }))).toEqual({
      condition: "Accepted",
      reason: "InterfaceNotAllowed",
      message:
        'spec.attachment.interface: "eth1": L2tpTunnel t does not allow this interface; ask its administrator to add it to spec.allowedInterfaces',
    });
  });

  it("is refused if an address is invalid", () => {
    const addresses = ["10.0.0.1/24", "10.0.0.256/24"];
    const one = session("lan", { interface: "edge0", create: true, addresses });
    expect(refusal(resolved([one]))?.message).toContain('addresses[1]: "10.0.0.256/24"');
  });

  it("excludes sessions of other namespaces from the interface", () => {
    const at = { interface: "eth1" };
    const both = [session("lan", at), session("a", at, { peerSessionId: 2 }, "other")];
    const others = resolved(both);
    expect([...others.refusedSessions.keys()]).toEqual(["shop/lan"]);
    expect(refusal(others)).toMatchObject({ reason: "Conflict" });
    expect(refusal(others)?.message).toContain("other/a uses this node interface");
    const same = [session("lan", at), session("a", at, { peerSessionId: 2 })];
    expect(resolved(same).refusedSessions).toEqual(new Map());
  });
});

describe("sessions whose tags tc rewrites", () => {
  const vlan = { pseudowireType: "EthernetVLAN", vlan: { id: 7 } } as const;
  const joined = session("lan", { interface: "eth1" }, vlan);

  it("are not joined in the kernel", () => {
    const inKernel = resolved([joined], { spec: { datapath: "Kernel" }, kernel: KERNEL });
    expect(refusal(inKernel)).toMatchObject({ condition: "Programmed", reason: "NotInKernel" });
    expect(refusal(inKernel)?.message).toContain("spec.attachment.create: true");
  });

  it("are joined in userspace with datapath: Auto", () => {
    const open = resolved([joined], { spec: { datapath: "Auto" }, kernel: KERNEL });
    expect(open.refusedSessions).toEqual(new Map());
    expect(open.tunnels.get("t")?.notInKernel).toContain("is joined to an interface");
  });

  it("remain in the kernel with create: true", () => {
    const own = session("lan", { interface: "edge0", create: true }, vlan);
    const inKernel = resolved([own], { spec: { datapath: "Kernel" }, kernel: KERNEL });
    expect(inKernel.refusedSessions).toEqual(new Map());
  });
});

describe("the condition Attached", () => {
  const of = (state: Parameters<typeof interfaceCondition>[1]["nodeInterface"]) =>
    interfaceCondition([], state === undefined ? {} : { nodeInterface: state });
  const at = { name: "eth1", addresses: [] };

  it("names the interface, and reports its carrier", () => {
    const joined = { kind: "joined", index: 7, mtu: 1500, isUp: true } as const;
    expect(of({ ...at, state: joined })).toMatchObject({ status: "True", reason: "Attached" });
    expect(of({ ...at, state: { ...joined, isUp: false } })).toMatchObject({
      ...{ status: "False", reason: "NoCarrier" },
    });
    expect(of({ ...at, state: { kind: "own" } })?.message).toContain("is interface eth1");
    const port = { kind: "port", bridge: "foreign 7", isUp: true } as const;
    expect(of({ ...at, state: port })?.message).toContain("bridge eth1");
  });

  it("is about pods while a pod is attached", () => {
    expect(of(undefined)).toBeUndefined();
    const nodeInterface = { ...at, state: { kind: "own" } } as const;
    expect(interfaceCondition(["a pod"], { nodeInterface })).toBeUndefined();
  });
});
