/** The demonstrations run to their end by the pages' commands, and show what the pages promise. */
import { expect, it } from "vitest";
import { pagesOf, ROOT, runnableBlocks } from "../harness/pages.ts";
import { run } from "../harness/run.ts";

const blocks = pagesOf("test/netns/demo.test.ts").flatMap(runnableBlocks);
const commands = new Set(
  blocks.flatMap(({ text }) => text.trim().split("\n")).map((line) => line.replace(/ *#.*/, "")),
);
const demo = (command: string) => run(["sh", "-euc", `cd ${ROOT}\n${command}`]);

it("the pages name three demonstrations", () => {
  expect([...commands]).toEqual(["make demo", "make demo-managed", "make demo-switch"]);
});

it("frames cross a pseudowire", async () => {
  const shown = await demo("make demo");
  expect(shown).toMatch(/TCP: \d+\.\d+ Gbit\/s/);
  expect(shown).toContain("Removing everything");
});

it("a managed tunnel loses its hub, fails over to the backup, and fails back", async () => {
  const shown = await demo("make demo-managed");
  expect(shown).toContain("200 pings to 10.1.0.2, 200 replies");
  expect(shown).toMatch(/hub +OnBackup .* 198\.51\.100\.3:1701/);
  expect(shown).toContain("! hub: 192.0.2.2 is down: no message received for");
  const [, end = ""] = shown.split("The hub is restarted");
  expect(end).toMatch(/hub +Up .* 192\.0\.2\.2:1701/);
  expect(end).toContain("Removing everything");
});

it("a hub switches frames between two pseudowires", async () => {
  const shown = await demo("make demo-switch");
  expect(shown).toContain("200 pings to 10.1.0.2, 200 replies");
  expect(shown).toMatch(/shop\/to-paris .*switched to shop\/to-rome/);
  expect(shown).toContain("Removing everything");
});
