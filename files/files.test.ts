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

  it.each(ODD_FILES)("is not kept by %s that an interrupted write has left", (_what, make) => {
    make(`${path}.new`);
    replaceFile(path, "{}\n");
    expect(readdirSync(folder)).toEqual(["one.json"]);
    expect(readFileSync(path, "utf8")).toBe("{}\n");
  });

  it("writes nothing through a symbolic link", () => {
    const other = join(folder, "other");
    writeFileSync(other, "mine");
    symlinkSync(other, `${path}.new`);
    symlinkSync(other, path);
    replaceFile(path, "{}");
    expect(readFileSync(other, "utf8")).toBe("mine");
  });

  it("loses nothing of a directory in its way", () => {
    mkdirSync(join(path, "of"), { recursive: true });
    replaceFile(path, "{}");
    mkdirSync(join(folder, "two.json"));
    expect(readdirSync(`${path}.aside`)).toEqual(["of"]);
  });

  it("leaves the file as it was where the folder takes no other", () => {
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
    "says what is wrong with %s, and waits for nobody",
    (_what, make) => {
      make(path);
      expect(() => readJsonFile(path, 1000)).toThrow(/^it is /);
    },
  );
});

describe("removeStaleSocket", () => {
  it.each(ODD_FILES.filter(([what]) => !what.includes("something in it")))(
    "makes room where %s is",
    (_what, make) => {
      make(path);
      removeStaleSocket(path);
      expect(readdirSync(folder)).toEqual([]);
    },
  );

  it("loses nothing of a directory, and needs nothing to be there", () => {
    removeStaleSocket(path);
    mkdirSync(join(path, "of"), { recursive: true });
    expect(() => removeStaleSocket(path)).toThrow("one.json: a directory that is not empty");
    expect(readdirSync(path)).toEqual(["of"]);
  });
});
