import { expect, it } from "vitest";
import type { DumpEntry, Listing } from "../../datapath/datapath.ts";
import { linkId } from "../../model/link-label.ts";
import type { Link } from "../../model/plan.ts";
import { withInterfaces, withRefusedFrames } from "./dump-entries.ts";

const entry = (change: Partial<DumpEntry>): DumpEntry => ({
  ...{ datapath: "Kernel", tunnelId: 1, sessionId: 128, peerId: 128, type: "Ethernet" },
  ...{ endpoints: "", interface: "", owner: null, settings: [], counters: {}, ...change },
});

const listing = {
  tunnels: [],
  sessions: [{ session: { key: "shop/lan", tunnel: "branch" }, deviceErrors: 3 }],
} as unknown as Listing;
const links = new Map([[linkId.pseudowire("shop/lan"), { name: "wan0" } as Link]]);

it("shows the present names of interfaces", () => {
  const names = (entries: readonly DumpEntry[]) =>
    withInterfaces(entries, listing, links, (name) => name === "theirs0").map(
      ({ interface: name }) => name,
    );
  const owner = "L2tpSession shop/lan";
  expect(names([entry({ owner, interface: "l2tn-128" }), entry({ owner })])).toEqual([
    "wan0",
    "wan0",
  ]);
  // A foreign device, and a foreign device that was renamed.
  expect(names([entry({ interface: "theirs0" }), entry({ interface: "theirs1" })])).toEqual([
    "theirs0",
    "",
  ]);
});

it("counts frames that a device refused as errors of session and tunnel", () => {
  const counters = { rxPackets: 10, rxErrors: 1, txPackets: 4 };
  const entries = [
    entry({ sessionId: null, owner: "L2tpTunnel branch", counters }),
    entry({ owner: "L2tpSession shop/lan", counters }),
    entry({ counters }),
  ];
  expect(withRefusedFrames(entries, listing).map((each) => each.counters)).toEqual([
    { rxPackets: 7, rxErrors: 4, txPackets: 4 },
    { rxPackets: 7, rxErrors: 4, txPackets: 4 },
    counters,
  ]);
});
