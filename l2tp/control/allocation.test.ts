import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const PROGRAM = fileURLToPath(
  new URL("../../test/harness/three-million-refusals.ts", import.meta.url),
);

it("drops three million messages without allocation", () => {
  const args = ["--disable-warning=ExperimentalWarning", "--trace-gc", PROGRAM];
  const output = execFileSync(process.execPath, args, { encoding: "utf8" });
  const [, traced = "", rest = ""] = /begins\n([\s\S]*)ends\n([\s\S]*)/.exec(output) ?? [];
  const { admitted, messages } = JSON.parse(/^\{.*\}$/m.exec(rest)?.[0] ?? "{}");
  expect(admitted).toBeGreaterThan(0);
  expect(admitted).toBeLessThan(messages / 50);
  // With one number a message on the heap there would be some twenty-four.
  expect(
    traced.split("\n").filter((line) => /Scavenge|Mark-Compact/.test(line)).length,
  ).toBeLessThan(12);
}, 60_000);
