/** l2tpctl as a process whose output is closed early. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, it } from "vitest";
import { fromHex } from "../l2tp/control/octets.ts";

const L2TPCTL = fileURLToPath(new URL("../bin/l2tpctl", import.meta.url));
/** Exceeds the capacity of a pipe. */
const MESSAGES = 5000;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "l2tpctl-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** A capture of HELLOs over IP, link type 101. */
function capture(): string {
  const le32 = (...values: number[]) => new Uint8Array(Uint32Array.from(values).buffer);
  const hello = fromHex("00000000c8030014bca70a2d003200198008000000000006");
  const packet = Buffer.concat([fromHex(`4500002c0000000040730000c0000201c0000202`), hello]);
  const record = Buffer.concat([le32(1, 0, packet.length, packet.length), packet]);
  const file = join(folder, "hello.pcap");
  const head = le32(0xa1b2c3d4, 0x0004_0002, 0, 0, 65535, 101);
  writeFileSync(file, Buffer.concat([head, ...Array.from({ length: MESSAGES }, () => record)]));
  return file;
}

const run = (script: string) =>
  new Promise<{ stdout: string; stderr: string }>((resolve) => {
    execFile("sh", ["-c", script], (_, stdout, stderr) => resolve({ stdout, stderr }));
  });

it.each(["decode FILE", "--output json decode FILE"])(
  "exits quietly: %s | head",
  async (command) => {
    const line = command.replace("FILE", capture());
    const { stdout, stderr } = await run(`${L2TPCTL} ${line} | head -n 1`);
    expect(stdout).not.toBe("");
    expect(stderr).toBe("");
  },
);

it.each(["--help", "decode --help", "--version"])("exits quietly: %s | true", async (command) => {
  const { stderr } = await run(`${L2TPCTL} ${command} | true`);
  expect(stderr).toBe("");
});

it("exits quietly if its stderr is closed", async () => {
  const { stdout } = await run(
    `{ ${L2TPCTL} decode /nowhere; echo $?; } 2>&1 >/dev/null | true; echo done`,
  );
  expect(stdout).toBe("done\n");
});
