/** Unexpected contents at the path of a file. Each function replaces what is at the path. */
import { execFileSync } from "node:child_process";
import { mkdirSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";

type Make = (path: string) => void;

const KINDS: readonly (readonly [string, Make])[] = [
  ["an empty file", (path) => writeFileSync(path, "")],
  ["half a file", (path) => writeFileSync(path, '{"apiVersion": "l2')],
  ["bytes that are not text", (path) => writeFileSync(path, Buffer.from([0, 255, 254, 10]))],
  ["null", (path) => writeFileSync(path, "null")],
  ["a number", (path) => writeFileSync(path, "7")],
  ["a list", (path) => writeFileSync(path, '[{"status": 1}]')],
  ["an object of another shape", (path) => writeFileSync(path, '{"status": {"conditions": 1}}')],
  ["a file above all bounds", (path) => tooLarge(path)],
  ["a directory", (path) => mkdirSync(path)],
  [
    "a directory with something in it",
    (path) => mkdirSync(`${path}/of/another`, { recursive: true }),
  ],
  ["a symbolic link to /dev/zero", (path) => symlinkSync("/dev/zero", path)],
  ["a dangling symbolic link", (path) => symlinkSync("/nowhere/at/all", path)],
  ["a pipe", (path) => void execFileSync("mkfifo", [path])],
];

export const ODD_FILES = KINDS.map(([what, make]): readonly [string, Make] => [
  what,
  (path) => {
    rmSync(path, { recursive: true, force: true });
    make(path);
  },
]);

/** Creates a sparse file, which needs no blocks on the disk. */
function tooLarge(path: string): void {
  writeFileSync(path, "");
  truncateSync(path, 2 ** 31);
}
