/** What `make demo-managed` shows, and that it plays to its end. */
import { expect, it } from "vitest";
import { run } from "../harness/run.ts";

it("a managed tunnel loses its hub, goes on by the backup, and gets the hub back", async () => {
  const shown = await run([process.execPath, "test/demo/managed.ts"]);
  expect(shown).toContain("200 pings to 10.1.0.2, 200 came back");
  expect(shown).toMatch(/hub +OnBackup .* 198\.51\.100\.3:1701/);
  expect(shown).toContain("! hub: 192.0.2.2 is not there: nothing heard for");
  const [, end = ""] = shown.split("The hub comes back");
  expect(end).toMatch(/hub +Up .* 192\.0\.2\.2:1701/);
  expect(end).toContain("nothing stays behind");
});
