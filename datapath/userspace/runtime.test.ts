import { expect, it } from "vitest";
import { pseudowireOf } from "../../model/pseudowires/index.ts";
import { session, tunnel } from "../../model/testdata.ts";
import type { Listing, SessionState, TunnelState } from "../datapath.ts";
import type { ProcessView } from "./process-view.ts";
import { UserspaceDatapath } from "./runtime.ts";

function listing(change: { datapath?: string; pseudowireType?: string } = {}): Listing {
  const { datapath = "Userspace", ...type } = change;
  const tunnelState = { tunnel: tunnel({ name: "t", datapath }), endpoint: {} };
  const sessionState = { session: session({ tunnel: "t", ...type }), datapath, counters: {} };
  return {
    tunnels: [tunnelState as unknown as TunnelState],
    sessions: [sessionState as unknown as SessionState],
    turns: 3,
  };
}

const datapathOf = (listed: Listing) =>
  new UserspaceDatapath({
    list: async () => listed,
    listSession: async () => ({ ...listed, tunnels: [] }),
  } as unknown as ProcessView);

it("lists the process's objects as its own, also if a newer agent put another datapath's name", async () => {
  const datapath = datapathOf(listing({ datapath: "Newer" }));
  for (const listed of [await datapath.list(), await datapath.peek()]) {
    expect(listed).toEqual(listing());
  }
  const [found] = (await datapath.find(session())).sessions;
  expect(found?.datapath).toBe("Userspace");
});

it("dumps sessions with their pseudowire types, including an unknown type", async () => {
  const typeOf = (listed: Listing) => datapathOf(listed).dump(listed)[1]?.type;
  expect(typeOf(listing())).toBe(pseudowireOf({}).name);
  expect(typeOf(listing({ pseudowireType: "Newer" }))).toBe("Newer");
});
