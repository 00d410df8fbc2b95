/** A path that narrows and widens under tunnels in the kernel; the far end is a datapath process. */
import { afterEach, describe, expect, it } from "vitest";
import { NARROW, PathPair, type Setting, seesPath } from "../harness/path-pair.ts";
import type { PathLink } from "../harness/routed-net.ts";

/** Some windows of TCP: the machine is emulated. */
const FLOW_BYTES = 300_000;

let pair: PathPair;

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(pair.a.log, pair.b.log);
  await pair.destroy();
});

const WIRES: readonly (readonly [string, Setting["wire"]])[] = [
  ["UDP over IPv4", { encapsulation: "UDP", family: "ipv4" }],
  ["UDP over IPv6", { encapsulation: "UDP", family: "ipv6" }],
  ["IP over IPv4", { encapsulation: "IP", family: "ipv4" }],
  ["IP over IPv6", { encapsulation: "IP", family: "ipv6" }],
];

describe.each(WIRES)("%s", (_name, wire) => {
  it.each<PathLink>(["first", "middle"])(
    "carries flows on while the %s link narrows and widens",
    async (narrow) => {
      pair = await PathPair.create({ datapath: "Kernel", ...(wire === undefined ? {} : { wire }) });
      await pair.join();
      await pair.flowsSurvive(narrow, FLOW_BYTES);
    },
  );
});

it("lets the doctor name a path that is narrower than the MTU", async () => {
  pair = await PathPair.create({ datapath: "Kernel" });
  await pair.join();
  await pair.routed.setMtu("first", NARROW);
  await seesPath(pair.a, NARROW);
  const { findings } = await pair.a.ask({ op: "doctor", seconds: 1 });
  expect(findings.map(({ finding }) => finding)).toContain(
    "the MTU 1446 is too large for the path: larger frames cross it in fragments",
  );
});
