import { describe, expect, it } from "vitest";
import { traitsOf } from "../../datapath/registry/datapaths.ts";
import type { Attachment } from "../../model/attachments/attachment.ts";
import { linkId, pseudowireLabel } from "../../model/link-label.ts";
import { type Desired, type Link, type Observed, plan as planWith } from "../../model/plan.ts";
import { session, tunnel } from "../../model/testdata.ts";
import { holdUnknown, keepBridge } from "./unreadable.ts";

const plan = (desired: Desired, observed: Observed) => planWith(desired, observed, traitsOf);
const key = "default/s1";
const id = linkId.pseudowire(key);

const link = (change: Partial<Link>): Link => ({
  id,
  kind: "pseudowire",
  datapath: "Userspace",
  label: pseudowireLabel(key, 1),
  netns: null,
  name: "l2tp-1",
  mtu: 1446,
  mac: null,
  up: false,
  bridge: null,
  addresses: [],
  routes: [],
  ...change,
});

const attachment = (change: Partial<Attachment>) =>
  ({ containerId: "c1", ifname: "net1", session: key, ...change }) as Attachment;

/** A session whose device is in a pod, and the desired state if the agent does not know the pod. */
function lost(datapath: string, isOpen = true) {
  const tunnels = [tunnel({ datapath })];
  const observed: Observed = {
    tunnels,
    sessions: [{ session: session(), datapath, deviceOpen: isOpen, receiving: true }],
    links: [],
  };
  const isKernel = datapath === "Kernel";
  const device = isKernel ? [link({ datapath, name: "l2tp-1" })] : [];
  const desired: Desired = {
    tunnels,
    sessions: [{ session: session(), datapath, link: isKernel ? id : null }],
    links: device,
    pairs: [],
  };
  return { desired, observed };
}

describe.each(["Userspace", "Kernel"] as const)("a session in %s", (datapath) => {
  it("stays unchanged if its device is in an unknown pod", () => {
    const { desired, observed } = lost(datapath);
    expect(plan(desired, observed)).not.toEqual([]);
    const holding = holdUnknown(desired, observed, []);
    expect([...holding.held]).toEqual([key]);
    expect(plan(holding.desired, holding.observed)).toEqual([]);
  });

  it("stays unchanged if its device is found in the pod", () => {
    const { desired, observed } = lost(datapath);
    const inPod = link({ datapath, netns: "/run/netns/p", name: "net1", up: true });
    const holding = holdUnknown(desired, { ...observed, links: [inPod] }, []);
    expect(plan(holding.desired, holding.observed)).toEqual([]);
  });

  it("is deleted if it is not desired", () => {
    const { observed } = lost(datapath);
    const nothing = { tunnels: [], sessions: [], links: [], pairs: [] };
    const holding = holdUnknown(nothing, observed, []);
    expect(holding.held.size).toBe(0);
    expect(plan(holding.desired, holding.observed)).toContainEqual({
      do: "deleteSession",
      datapath,
      key,
    });
  });

  it("is not retained if its attachment is known", () => {
    const { desired, observed } = lost(datapath);
    const holding = holdUnknown(desired, observed, [attachment({ leaving: true })]);
    expect(holding.held.size).toBe(0);
    expect(holding.desired).toEqual(desired);
  });
});

it("does not retain a session whose device is on the node", () => {
  const { desired, observed } = lost("Kernel");
  const onNode = { ...observed, links: [link({ datapath: "Kernel", up: true })] };
  expect(holdUnknown(desired, onNode, []).held.size).toBe(0);
  expect(holdUnknown(...both(lost("Userspace", false)), []).held.size).toBe(0);
});

const both = ({ desired, observed }: ReturnType<typeof lost>) => [desired, observed] as const;

describe("a bridge", () => {
  const bridge = link({ ...none("bridge", linkId.bridge(key)), name: "l2br-1", up: true });
  const device = link({ up: true, bridge: bridge.id });
  const port = (name: string) =>
    link({ ...none("port", linkId.port(`${name}/net1`)), name, up: true, bridge: bridge.id });
  function none(kind: Link["kind"], its: string) {
    return { kind, id: its, label: its, datapath: null };
  }
  const { desired, observed: seen } = lost("Userspace");
  const observed = { ...seen, links: [bridge, device, port("c1"), port("c2")] };

  it("stays with its port if it joins an unknown pod", () => {
    const holding = holdUnknown(desired, observed, [attachment({ leaving: true })]);
    expect([...holding.held]).toEqual([key]);
    const at = { netns: null, name: "c1" };
    expect(plan(holding.desired, holding.observed)).toEqual([
      { do: "deleteLink", link: port("c1").id, at },
    ]);
  });

  it("is deleted with the last known pod", () => {
    const known = [attachment({}), attachment({ containerId: "c2" })];
    expect(holdUnknown(desired, observed, known).held.size).toBe(0);
  });

  it("stays while one pod of several leaves", () => {
    const some = { ...observed, links: [bridge, device, port("c1")] };
    expect(plan(desired, some).map(({ do: what }) => what)).toContain("deleteLink");
    expect(plan(keepBridge(desired, some), some)).toEqual([
      { do: "deleteLink", link: port("c1").id, at: { netns: null, name: "c1" } },
    ]);
  });
});
