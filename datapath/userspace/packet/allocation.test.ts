import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const PROGRAM = fileURLToPath(
  new URL("../../../test/harness/ten-million-frames.ts", import.meta.url),
);

it.each(["Ethernet", "EthernetVLAN"])(
  "forwards ten million frames of type %s without a mark-compact collection",
  (type) => {
    const args = ["--disable-warning=ExperimentalWarning", "--trace-gc", PROGRAM, type];
    const output = execFileSync(process.execPath, args, { encoding: "utf8" });
    const [, traced = "", rest = ""] = /begins\n([\s\S]*)ends\n([\s\S]*)/.exec(output) ?? [];
    const { frames, txErrors, rxErrors } = JSON.parse(/^\{.*\}$/m.exec(rest)?.[0] ?? "{}");
    expect(frames).toBeGreaterThanOrEqual(10_000_000);
    expect({ txErrors, rxErrors }).toEqual({ txErrors: 0, rxErrors: 0 });
    expect(traced.split("\n").filter((line) => line.includes("Mark-Compact"))).toEqual([]);
  },
  600_000,
);
