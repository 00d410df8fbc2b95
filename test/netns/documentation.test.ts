/** Runs the blocks of pages about managed tunnels of edge boxes. */
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { Boxes } from "../harness/box.ts";
import { pagesOf, type RunPage, runnableBlocks } from "../harness/pages.ts";
import { tryRun } from "../harness/run.ts";
import { until } from "../harness/wait.ts";

const [MANAGED, BACKUPS] = pagesOf("test/netns/documentation.test.ts") as [RunPage, RunPage];
/** The page that installs the agent, before the others. */
const EDGE: RunPage = { page: "docs/edge.md", suite: "test/kernel/documentation.test.ts" };
const ADDRESSES = { edge: "192.0.2.1", hub: "198.51.100.7", hub2: "203.0.113.9" };

let boxes: Boxes;

beforeAll(async () => {
  boxes = await Boxes.create(ADDRESSES);
  const [install] = runnableBlocks(EDGE);
  if (install === undefined) throw new Error("docs/edge.md has no block that installs");
  for (const name of Object.keys(ADDRESSES)) await boxes.at(name).shell.run(install);
});

afterEach((context) => {
  if (context.task.result?.state === "fail") console.log(boxes.log);
});

afterAll(() => boxes.destroy());

/** Waits until `l2tpctl WHAT -o wide` of the edge box shows the pattern. */
async function shows(what: string, pattern: RegExp): Promise<void> {
  let output = "";
  await until(
    () => `${what} shows ${pattern}\n${output}`,
    async () => {
      output = (await tryRun(boxes.at("edge").command("l2tpctl", what, "-o", "wide"))).stdout;
      return pattern.test(output);
    },
  );
}

it(`${MANAGED.page}: the session is established, and frames cross`, async () => {
  expect(await boxes.run(MANAGED)).toContain(", 3 received");
  await shows("tunnels", /^branch +Up /m);
  await shows("sessions", /^default\/lan +Up /m);
});

it(`${BACKUPS.page}: both hubs are connected, and the first is active`, async () => {
  await boxes.run(BACKUPS);
  await shows("tunnels", /^branch +Up .*\*198\.51\.100\.7 \d+s, 203\.0\.113\.9 \d+s/m);
});
