import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readJsonFile } from "./read-file.ts";
import { makeFolder, replaceFile } from "./replace-file.ts";
import { removeStaleSocket } from "./stale-socket.ts";
import { ODD_FILES } from "./testdata.ts";

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "files-"));
  path = join(folder, "one.json");
});

afterEach(() => rmSync(folder, { recursive: true }));

describe("replaceFile", () => {
  it.each(ODD_FILES)("replaces %s", (_what, make) => {
    make(path);
    replaceFile(path, "{}\n");
    expect(lstatSync(path).isFile()).toBe(true);
    expect(lstatSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(path, "utf8")).toBe("{}\n");
  });

  it.each(ODD_FILES)("succeeds if an interrupted write has left %s", (_what, make) => {
    make(`${path}.new`);
    replaceFile(path, "{}\n");
    expect(readdirSync(folder)).toEqual(["one.json"]);
    expect(readFileSync(path, "utf8")).toBe("{}\n");
  });

  it("does not write through a symbolic link", () => {
    const other = join(folder, "other");
    writeFileSync(other, "mine");
    symlinkSync(other, `${path}.new`);
    symlinkSync(other, path);
    replaceFile(path, "{}");
    expect(readFileSync(other, "utf8")).toBe("mine");
  });

  it("sets a directory aside with its content", () => {
    mkdirSync(join(path, "of"), { recursive: true });
    replaceFile(path, "{}");
    mkdirSync(join(folder, "two.json"));
    expect(readdirSync(`${path}.aside`)).toEqual(["of"]);
  });

  it("does not change the file if the folder does not exist", () => {
    replaceFile(path, "before");
    expect(() => replaceFile(join(folder, "no", "folder"), "x")).toThrow("ENOENT");
    expect(readdirSync(folder)).toEqual(["one.json"]);
  });
});

it("makeFolder sets aside what is not a folder", () => {
  writeFileSync(path, "x");
  makeFolder(path);
  makeFolder(path);
  expect(lstatSync(path).isDirectory()).toBe(true);
  expect(readFileSync(`${path}.aside`, "utf8")).toBe("x");
});

describe("readJsonFile", () => {
  it("reads JSON", () => {
    writeFileSync(path, '{"a": 1}');
    expect(readJsonFile(path, 100)).toEqual({ a: 1 });
  });

  it.each(ODD_FILES.filter(([what]) => /empty|half|bytes|bounds|directory|link|pipe/.test(what)))(
    "reports %s without blocking",
    (_what, make) => {
      make(path);
      expect(() => readJsonFile(path, 1000)).toThrow(/^is /);
    },
  );
});

describe("removeStaleSocket", () => {
  it.each(ODD_FILES.filter(([what]) => !what.includes("something in it")))(
    "removes %s",
    (_what, make) => {
      make(path);
      removeStaleSocket(path);
      expect(readdirSync(folder)).toEqual([]);
    },
  );

  it("keeps a directory that is not empty, and accepts a missing file", () => {
    removeStaleSocket(path);
    mkdirSync(join(path, "of"), { recursive: true });
    expect(() => removeStaleSocket(path)).toThrow("one.json: is a directory that is not empty");
    expect(readdirSync(path)).toEqual(["of"]);
  });
});
