import { expect, it } from "vitest";
import { linkId, parseLinkLabel, pseudowireLabel } from "./link-label.ts";

it("reads back what it writes", () => {
  expect(parseLinkLabel(pseudowireLabel("a/b", 128))).toEqual({
    id: linkId.pseudowire("a/b"),
    kind: "pseudowire",
    key: "a/b",
    sessionId: 128,
  });
  const pod = { id: linkId.pod("c1/net1"), kind: "pod", key: "c1/net1", sessionId: null };
  expect(parseLinkLabel(linkId.pod("c1/net1"))).toEqual(pod);
});

it.each(["", "eth0", "l2tp:", "l2tp:x:y", "l2tp:session:", "l2tp:session:a/b 0", "l2tp:pod:a b"])(
  "does not accept the foreign label %j",
  (label) => {
    expect(parseLinkLabel(label)).toBeUndefined();
  },
);
