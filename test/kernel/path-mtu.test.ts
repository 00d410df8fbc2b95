/** Kernel tunnels over a path whose MTU changes; the peer is a datapath process. */
import { afterEach, expect, it } from "vitest";
import { NARROW, PathPair, seesPath, type Wire } from "../harness/path-pair.ts";
import type { PathLink } from "../harness/routed-net.ts";

/** Some TCP windows: the machine is emulated. */
const FLOW_BYTES = 300_000;

let pair: PathPair;

afterEach(async (context) => {
  if (context.task.result?.state === "fail") console.log(pair.a.log, pair.b.log);
  await pair.destroy();
});

/** Over IPv4 the node detects the MTU of its own link; over IPv6 a router reports it. */
const PATHS: readonly (readonly [string, PathLink, Wire])[] = [
  ["UDP over IPv4", "first", { encapsulation: "UDP", family: "ipv4" }],
  ["UDP over IPv6", "middle", { encapsulation: "UDP", family: "ipv6" }],
  ["IP over IPv4", "first", { encapsulation: "IP", family: "ipv4" }],
  ["IP over IPv6", "middle", { encapsulation: "IP", family: "ipv6" }],
];

it.each(PATHS)(
  "%s: flows continue while the %s link narrows and widens",
  async (_, narrow, wire) => {
    pair = await PathPair.create({ datapath: "Kernel", wire });
    await pair.join();
    await pair.flowsSurvive(narrow, FLOW_BYTES);
  },
);

it("reports a path narrower than the MTU by the doctor", async () => {
  pair = await PathPair.create({ datapath: "Kernel" });
  await pair.join();
  await pair.routed.setMtu("first", NARROW);
  await seesPath(pair.a, NARROW);
  const { findings } = await pair.a.ask({ op: "doctor", seconds: 1 });
  expect(findings.map(({ finding }) => finding)).toContain(
    "the MTU 1446 is too large for the path: large frames are fragmented",
  );
});
