/** Runs the commands of the page about node interfaces. */
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { Boxes } from "../harness/box.ts";
import { pagesOf, type RunPage, runnableBlocks } from "../harness/pages.ts";

const [PAGE] = pagesOf("test/netns/interface-page.test.ts") as [RunPage];
/** The page that describes the installation. */
const EDGE: RunPage = { page: "docs/edge.md", suite: "test/kernel/documentation.test.ts" };
const ADDRESSES = { edge: "192.0.2.1", hub: "198.51.100.7" };

let boxes: Boxes;

beforeAll(async () => {
  boxes = await Boxes.create(ADDRESSES);
  const [install] = runnableBlocks(EDGE);
  if (install === undefined)
    throw new Error("docs/edge.md has no runnable block; add the installation");
  for (const name of Object.keys(ADDRESSES)) await boxes.at(name).shell.run(install);
});

afterEach((context) => {
  if (context.task.result?.state === "fail") console.log(boxes.log);
});

afterAll(() => boxes.destroy());

it(`${PAGE.page}: the host behind the port reaches the hub's own interface`, async () => {
  const output = await boxes.run(PAGE);
  expect(output).toContain(", 3 received");
  expect(output).toContain("node:eth1");
});
