import { describe, expect, it } from "vitest";
import { addTo, chainedPlugin, isNetworkConfig, removeFrom } from "./conflist.ts";

const plugin = chainedPlugin("/run/l2tp-cni/agent.sock");
const list = (...plugins: object[]) =>
  JSON.stringify({ cniVersion: "0.4.0", name: "net", plugins, more: { kept: true } });
const text = (edit: ReturnType<typeof addTo>) => (edit.do === "write" ? edit.text : "");

describe("addTo", () => {
  it("adds the plugin at the end, and changes nothing else", () => {
    const edit = addTo(list({ type: "bridge", mtu: 1450 }, { type: "portmap" }), plugin);
    expect(JSON.parse(text(edit))).toEqual({
      cniVersion: "0.4.0",
      name: "net",
      plugins: [{ type: "bridge", mtu: 1450 }, { type: "portmap" }, plugin],
      more: { kept: true },
    });
  });

  it("does not change an up-to-date list", () => {
    expect(addTo(text(addTo(list({ type: "bridge" }), plugin)), plugin)).toEqual({ do: "nothing" });
  });

  it("updates an older entry in its place", () => {
    const old = { type: "l2tp", session: "shop/lan", socket: "/old.sock" };
    const edit = addTo(list({ type: "bridge" }, old, { type: "tuning" }), plugin);
    const { plugins } = JSON.parse(text(edit));
    expect(plugins).toEqual([{ type: "bridge" }, { ...old, ...plugin }, { type: "tuning" }]);
  });

  it.each([
    ["Multus's list", list({ type: "multus-shim" }), /NetworkAttachmentDefinition/],
    ["Multus's file", JSON.stringify({ name: "m", type: "multus" }), /NetworkAttachmentDefinition/],
    ["a single plugin", JSON.stringify({ name: "x", type: "bridge" }), /not a plugin list/],
    ["half a file", '{"name": "x", "plug', /not JSON/],
    ["an empty list", list(), /not a plugin list/],
    [
      "a list of an old version",
      list({ type: "bridge" }).replace("0.4.0", "0.2.0"),
      /unsupported cniVersion "0.2.0"/,
    ],
  ])("does not change %s", (_name, before, why) => {
    expect(addTo(before, plugin)).toEqual({ do: "leave", why: expect.stringMatching(why) });
  });
});

describe("removeFrom", () => {
  it("reverts addTo", () => {
    const before = list({ type: "bridge" }, { type: "portmap" });
    const removed = removeFrom(text(addTo(before, plugin)), "l2tp");
    expect(JSON.parse(text(removed))).toEqual(JSON.parse(before));
  });

  it("does not change a list without the plugin", () => {
    expect(removeFrom(list({ type: "bridge" }), "l2tp")).toEqual({ do: "nothing" });
  });

  it("does not empty a list", () => {
    expect(removeFrom(list(plugin), "l2tp").do).toBe("leave");
  });
});

it("recognizes the files that runtimes read", () => {
  const names = ["10-a.conflist", "b.conf", "c.json", ".d.conflist", "e.conflist.new", "f.txt"];
  expect(names.filter(isNetworkConfig)).toEqual(["10-a.conflist", "b.conf", "c.json"]);
});
