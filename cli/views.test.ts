import { expect, it } from "vitest";
import { ago, render, renderFindings, SESSION_VIEW, stateOf } from "./views.ts";

const up = [
  { type: "Accepted", status: "True", reason: "Valid", message: "" },
  { type: "Programmed", status: "True", reason: "Programmed", message: "" },
  { type: "Attached", status: "False", reason: "NoPod", message: "" },
];

it("aligns sessions in columns, and sums up dropped frames", () => {
  const row = {
    name: "shop/lan",
    tunnel: "branch",
    sessionId: 128,
    peerSessionId: 7,
    interface: "l2tp-128",
    mtu: 1446,
    pseudowireType: "EthernetVLAN 100",
    mode: "Direct",
    attachedTo: ["shop/web-0:net1"],
    lastReceivedMsAgo: 1200,
    fastPath: false,
    control: null,
    conditions: up,
    counters: { rxPackets: 10, txPackets: 20, rxErrors: 2, rxSeqDiscards: 1 },
  };
  const lines = render(SESSION_VIEW, [row, { ...row, name: "a-much-longer/name" }], false).split(
    "\n",
  );
  expect(lines).toHaveLength(3);
  expect(lines[0]?.indexOf("STATE")).toBe(lines[1]?.indexOf("Up"));
  expect(lines[1]).toMatch(/ 10 +20 +3 +1s$/);
  expect(render(SESSION_VIEW, [row], true)).toContain("rxSeqDiscards=1");
  expect(render(SESSION_VIEW, [row], true)).toContain("EthernetVLAN 100");
  expect(render(SESSION_VIEW, [], false)).toBe("No sessions on this node; run l2tpctl doctor.");
});

it("shows the first failed condition, and ignores a missing pod", () => {
  expect(stateOf(up)).toBe("Up");
  const bad = { type: "Programmed", status: "False", reason: "AddressInUse", message: "" };
  expect(stateOf([bad])).toBe("AddressInUse");
});

it.each([
  [null, "never"],
  [900, "1s"],
  [119_000, "119s"],
  [121_000, "2m"],
  [7_300_000, "2h"],
])("%s ms are %s", (ms, text) => expect(ago(ms)).toBe(text));

it("prints the remedy below each finding", () => {
  const finding = {
    severity: "error",
    object: "L2tpSession a/b",
    finding: "x",
    remedy: "y",
  } as const;
  const counts = { tunnels: 1, sessions: 2, seconds: 2, rxPackets: 1, txPackets: 9 };
  const looked = { ...counts, captured: { tunnels: 1, datagrams: 12, problem: null } };
  expect(renderFindings({ findings: [finding], ...looked })).toBe(
    "ERROR  L2tpSession a/b: x\n       → y\nChecked 1 tunnel, 2 sessions; in 2 s 1 frame received, 9 sent; 12 datagrams captured.",
  );
  expect(renderFindings({ findings: [], ...looked })).toBe(
    "Nothing wrong found: checked 1 tunnel, 2 sessions; in 2 s 1 frame received, 9 sent; 12 datagrams captured.",
  );
  const problem = "socket AF_PACKET: EPERM";
  const captured = { tunnels: 0, datagrams: 0, problem };
  expect(renderFindings({ findings: [], ...counts, captured })).toContain(
    "; datagrams were not captured (socket AF_PACKET: EPERM).",
  );
  const some = { tunnels: 16, datagrams: 1, problem: null };
  expect(renderFindings({ findings: [], ...counts, tunnels: 99, captured: some })).toContain(
    "; 1 datagram of 16 tunnels captured.",
  );
});
