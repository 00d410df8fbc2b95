import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { Attachment } from "../../model/attachments/attachment.ts";
import { session, tunnel } from "../../model/testdata.ts";
import type { ResolvedSession } from "../resolve/resolved.ts";
import { AttachmentStore } from "./attachments.ts";
import { givenMtu, heldMtus, recordMtus } from "./given-mtus.ts";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "given-mtus-"));
});

afterEach(() => rmSync(folder, { recursive: true }));

const everywhere = () => true;
const nowhere = () => false;

const attachment = (change: Partial<Attachment> = {}): Attachment => ({
  ...{ containerId: "c1", cniIfname: "eth0", ifname: "l2tp0", netns: "/run/netns/pod" },
  ...{ netnsIdentity: "boot 1 2", session: "shop/lan", pod: "shop/web-0", network: "branch" },
  ...{ mac: "02:00:5e:00:53:01", addresses: [], routes: [], ipam: null, leaving: false },
  createdAt: "2026-01-01T00:00:00.000Z",
  ...change,
});

function resolved(pathMtu: number, mtu?: number): ResolvedSession {
  const spec = { tunnelRef: { name: "branch" }, ...(mtu === undefined ? {} : { mtu }) };
  return {
    object: {
      ...{ apiVersion: "l2tp.dev/v1alpha1", kind: "L2tpSession" },
      metadata: { name: "lan", namespace: "shop" },
      spec,
    },
    ...{ session: session(), tunnel: tunnel(), pathMtu, mode: "Direct" },
  };
}

it("holds the MTU of the session's first pod that is not leaving", () => {
  const where = { kind: "pseudowire", datapath: "Userspace", index: 7, sessionId: 128 } as const;
  const device = { ...where, mtu: 1446, isLowered: false };
  const held = heldMtus([
    attachment({ leaving: true, mtu: { pathMtu: 9000, specMtu: null } }),
    attachment({ containerId: "c2", mtu: { pathMtu: 1500, specMtu: null }, device }),
    attachment({ containerId: "c3", mtu: { pathMtu: 1300, specMtu: null } }),
    attachment({ containerId: "c4", session: "shop/wan" }),
  ]);
  expect(held).toEqual(
    new Map([
      ["shop/lan", { given: { pathMtu: 1500, specMtu: null }, deviceMtu: 1446 }],
      ["shop/wan", { given: null, deviceMtu: null }],
    ]),
  );
});

it("records the MTU after an upgrade, and when spec.mtu changes", () => {
  const store = new AttachmentStore(folder);
  const old = attachment();
  store.put(old);
  const sessions = new Map([["shop/lan", resolved(1500)]]);
  recordMtus(store, [old], sessions, nowhere);
  const known = { ...old, mtu: { pathMtu: 1500, specMtu: null } };
  expect([...new AttachmentStore(folder).all()]).toEqual([known]);
  recordMtus(store, [known], new Map([["shop/lan", resolved(1300)]]), everywhere);
  expect([...store.all()]).toEqual([known]);
  const changed = resolved(1300, 1280);
  recordMtus(store, [known], new Map([["shop/lan", changed]]), everywhere);
  expect([...store.all()]).toEqual([{ ...old, mtu: { pathMtu: 1300, specMtu: 1280 } }]);
});

it("records the MTU when the path becomes known", () => {
  const store = new AttachmentStore(folder);
  const guessed = attachment({ mtu: givenMtu(resolved(1500), false) });
  store.put(guessed);
  const sessions = new Map([["shop/lan", resolved(1500)]]);
  recordMtus(store, [guessed], sessions, nowhere);
  expect([...store.all()]).toEqual([guessed]);
  recordMtus(store, [guessed], new Map([["shop/lan", resolved(1300)]]), everywhere);
  expect([...new AttachmentStore(folder).all()]).toEqual([
    { ...guessed, mtu: { pathMtu: 1300, specMtu: null } },
  ]);
});

it("records nothing for a deleted session or attachment", () => {
  const store = new AttachmentStore(folder);
  recordMtus(store, [attachment()], new Map([["shop/lan", resolved(1500)]]), everywhere);
  expect([...store.all()]).toEqual([]);
  store.put(attachment());
  recordMtus(store, [attachment()], new Map(), everywhere);
  expect([...store.all()]).toEqual([attachment()]);
});
