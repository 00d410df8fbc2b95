import { describe, expect, it } from "vitest";
import { addTo, chainedPlugin, isNetworkConfig, removeFrom } from "./conflist.ts";

const plugin = chainedPlugin("/run/l2tp-cni/agent.sock");
const list = (...plugins: object[]) =>
  JSON.stringify({ cniVersion: "0.4.0", name: "net", plugins, more: { kept: true } });
const text = (edit: ReturnType<typeof addTo>) => (edit.do === "write" ? edit.text : "");

describe("addTo", () => {
  it("chains itself last, and leaves the rest as it is", () => {
    const edit = addTo(list({ type: "bridge", mtu: 1450 }, { type: "portmap" }), plugin);
    expect(JSON.parse(text(edit))).toEqual({
      cniVersion: "0.4.0",
      name: "net",
      plugins: [{ type: "bridge", mtu: 1450 }, { type: "portmap" }, plugin],
      more: { kept: true },
    });
  });

  it("does nothing the second time", () => {
    expect(addTo(text(addTo(list({ type: "bridge" }), plugin)), plugin)).toEqual({ do: "nothing" });
  });

  it("brings an older one up to date, in its place", () => {
    const old = { type: "l2tp", session: "shop/lan", socket: "/old.sock" };
    const edit = addTo(list({ type: "bridge" }, old, { type: "tuning" }), plugin);
    const { plugins } = JSON.parse(text(edit));
    expect(plugins).toEqual([{ type: "bridge" }, { ...old, ...plugin }, { type: "tuning" }]);
  });

  it.each([
    ["Multus's list", list({ type: "multus-shim" }), /NetworkAttachmentDefinition/],
    ["Multus's file", JSON.stringify({ name: "m", type: "multus" }), /NetworkAttachmentDefinition/],
    ["a single plugin", JSON.stringify({ name: "x", type: "bridge" }), /no list of plugins/],
    ["half a file", '{"name": "x", "plug', /not JSON/],
    ["an empty list", list(), /no list of plugins/],
    [
      "a list of an old version",
      list({ type: "bridge" }).replace("0.4.0", "0.2.0"),
      /cniVersion is "0.2.0"/,
    ],
  ])("leaves %s alone", (_name, before, why) => {
    expect(addTo(before, plugin)).toEqual({ do: "leave", why: expect.stringMatching(why) });
  });
});

describe("removeFrom", () => {
  it("takes out what addTo has put in", () => {
    const before = list({ type: "bridge" }, { type: "portmap" });
    const removed = removeFrom(text(addTo(before, plugin)), "l2tp");
    expect(JSON.parse(text(removed))).toEqual(JSON.parse(before));
  });

  it("does nothing where there is none of ours", () => {
    expect(removeFrom(list({ type: "bridge" }), "l2tp")).toEqual({ do: "nothing" });
  });

  it("leaves a list that would be empty", () => {
    expect(removeFrom(list(plugin), "l2tp").do).toBe("leave");
  });
});

it("knows what a runtime reads", () => {
  const names = ["10-a.conflist", "b.conf", "c.json", ".d.conflist", "e.conflist.new", "f.txt"];
  expect(names.filter(isNetworkConfig)).toEqual(["10-a.conflist", "b.conf", "c.json"]);
});
