import {
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ODD_FILES } from "../../files/testdata.ts";
import type { Attachment } from "../../model/attachments/attachment.ts";
import { AttachmentStore } from "./attachments.ts";

let state: string;
let folder: string;

beforeEach(() => {
  state = mkdtempSync(join(tmpdir(), "attachments-"));
  folder = join(state, "attachments");
});

afterEach(() => rmSync(state, { recursive: true }));

const attachment = (change: Partial<Attachment> = {}): Attachment => ({
  containerId: "c1",
  cniIfname: "eth0",
  ifname: "l2tp0",
  netns: "/run/netns/pod",
  netnsIdentity: "boot 1 2",
  session: "shop/lan",
  pod: "shop/web-0",
  network: "branch",
  mac: "02:00:5e:00:53:01",
  addresses: ["10.1.0.1/24"],
  routes: [{ destination: "0.0.0.0/0", gateway: null }],
  createdAt: "2026-01-01T00:00:00.000Z",
  leaving: false,
  ipam: { ips: [], routes: [] },
  ...change,
});

const open = () => new AttachmentStore(state);
const files = () => readdirSync(folder).filter((name) => name.endsWith(".json"));
const only = () => join(folder, files()[0] ?? "");

it("has the same attachments after a restart, including fields of later versions", () => {
  const more = { ...attachment(), announce: false };
  open().put(more);
  const store = open();
  expect([...store.all()]).toEqual([more]);
  store.delete("c1/l2tp0");
  expect([...open().all()]).toEqual([]);
  expect(files()).toEqual([]);
});

describe.each(ODD_FILES)("%s", (_what, make) => {
  it("is reported and kept until the DEL of its pod, and does not affect others", () => {
    const before = open();
    before.put(attachment());
    const path = only();
    before.put(attachment({ containerId: "c2" }));
    make(path);
    const store = open();
    expect([...store.all()].map(({ containerId }) => containerId)).toEqual(["c2"]);
    expect(store.unreadable).toEqual([{ path, reason: expect.stringMatching(/^(is|its) /) }]);
    expect(store.dropUnreadable({ containerId: "c2", cniIfname: "eth0" })).toEqual([]);
    expect(open().unreadable).toHaveLength(1);
    expect(store.dropUnreadable({ containerId: "c1", cniIfname: "eth0" })).toEqual(["l2tp0"]);
    expect(store.unreadable).toEqual([]);
    expect(open().unreadable).toEqual([]);
  });

  it("is replaced by a repeated ADD", () => {
    open().put(attachment());
    make(only());
    const store = open();
    store.put(attachment());
    expect(store.unreadable).toEqual([]);
    expect([...open().all()]).toEqual([attachment()]);
  });

  it("is forgotten if the file is deleted, and loaded if the file is repaired", () => {
    open().put(attachment());
    const [path, text] = [only(), readFileSync(only(), "utf8")];
    make(path);
    const store = open();
    store.recheck();
    expect(store.unreadable).toHaveLength(1);
    rmSync(path, { recursive: true });
    writeFileSync(path, text);
    store.recheck();
    expect(store.unreadable).toEqual([]);
    expect([...store.all()]).toEqual([attachment()]);
    make(path);
    const again = open();
    rmSync(path, { recursive: true });
    again.recheck();
    expect(again.unreadable).toEqual([]);
  });

  it("is removed after a reboot, which ended its pod", () => {
    open().put(attachment());
    make(only());
    writeFileSync(join(folder, ".boot-id"), "01234567-89ab-cdef-0123-456789abcdef\n");
    expect(open().unreadable).toEqual([]);
    expect(files()).toEqual([]);
  });

  it("is ignored as the remainder of an interrupted write", () => {
    open().put(attachment());
    make(`${only()}.new`);
    const store = open();
    expect(store.unreadable).toEqual([]);
    store.put(attachment({ mac: "02:00:5e:00:53:02" }));
    expect([...open().all()]).toEqual([attachment({ mac: "02:00:5e:00:53:02" })]);
  });
});

it.each<[string, unknown]>([
  ["containerId", "../x"],
  ["cniIfname", 7],
  ["ifname", "a/b"],
  ["netns", "pod"],
  ["netnsIdentity", null],
  ["session", "lan"],
  ["pod", {}],
  ["network", ""],
  ["mac", "02:00"],
  ["addresses", "10.1.0.1/24"],
  ["addresses", ["10.1.0.1"]],
  ["routes", [{ destination: "x", gateway: null }]],
  ["routes", [null]],
  ["createdAt", "yesterday"],
  ["leaving", "no"],
  ["ipam", { ips: 1 }],
])("names the field %s with the invalid value %j", (field, value) => {
  open().put(attachment());
  const text = readFileSync(only(), "utf8");
  writeFileSync(only(), JSON.stringify({ ...JSON.parse(text), [field]: value }));
  expect(open().unreadable).toMatchObject([{ reason: expect.stringContaining(`field ${field}`) }]);
});

it("loads files of earlier versions by any name, and ignores copies", () => {
  open().put(attachment());
  copyFileSync(only(), join(folder, "0123.json"));
  expect([...open().all()]).toHaveLength(1);
  expect(open().ofSession("shop/lan")).toHaveLength(1);
  const [name = ""] = files();
  copyFileSync(join(folder, name), join(folder, "old.json"));
  rmSync(join(folder, name));
  const store = open();
  expect([...store.all()]).toEqual([attachment()]);
  store.put(attachment({ leaving: true }));
  expect(files()).toEqual([name]);
});

it("reports an unreadable folder until it is repaired", () => {
  writeFileSync(folder, "x");
  expect(open().unreadable).toMatchObject([{ path: folder }]);
  const store = open();
  expect(() => store.put(attachment())).toThrow();
  rmSync(folder);
  store.recheck();
  expect(store.unreadable).toEqual([]);
  store.put(attachment());
});
