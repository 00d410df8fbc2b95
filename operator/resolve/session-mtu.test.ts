import { describe, expect, it } from "vitest";
import { type HeldMtu, settleMtu } from "./session-mtu.ts";

const OVERHEAD = 54;
const fits = (pathMtu: number) => pathMtu - OVERHEAD;

const attached = (
  pathMtu: number | null,
  specMtu: number | null = null,
  deviceMtu?: number,
): HeldMtu => ({
  given: { pathMtu, specMtu },
  deviceMtu: deviceMtu ?? specMtu ?? (pathMtu ?? 1500) - OVERHEAD,
});
const earlier = (deviceMtu: number | null): HeldMtu => ({ given: null, deviceMtu });

describe("the MTU of a session", () => {
  it.each<[string, number | undefined, number, HeldMtu | undefined, number]>([
    ["follows the path while no pod is attached", undefined, 1300, undefined, 1246],
    ["is spec.mtu", 1400, 1300, undefined, 1400],
    ["stays when the path narrows", undefined, 1300, attached(1500), 1446],
    ["stays when the path widens", undefined, 1500, attached(1300), 1246],
    ["follows spec.mtu", 1350, 1500, attached(1500), 1350],
    ["follows spec.mtu from one value to another", 1350, 1500, attached(1500, 1400), 1350],
    ["follows the path when spec.mtu is removed", undefined, 1400, attached(1500, 1350), 1346],
    ["stays while spec.mtu stays", 1350, 1300, attached(1500, 1350), 1350],
    ["is the MTU that an earlier version set", undefined, 1300, earlier(1446), 1446],
    [
      "follows the path while an earlier version creates the interface",
      undefined,
      1300,
      earlier(null),
      1246,
    ],
    ["follows the first known path", undefined, 1400, attached(null), 1346],
    ["does not fall below 1280", undefined, 1300, attached(1500, 1400), 1280],
    ["can be below 1280 if it was below at ADD", undefined, 1200, attached(1300), 1246],
    ["is not raised to 1280 by a narrow path", undefined, 1250, attached(1500, 1000), 1196],
    ["is at most 65521", undefined, 100_000, undefined, 65_521],
    ["is at least 68", undefined, 100, undefined, 68],
  ])("%s", (_what, spec, pathMtu, held, expected) => {
    expect(settleMtu(spec, pathMtu, fits, held).mtu).toBe(expected);
  });

  it("follows a change of the header size, with the path MTU of ADD", () => {
    const longer = (pathMtu: number) => pathMtu - OVERHEAD - 8;
    expect(settleMtu(undefined, 1300, longer, attached(1500))).toEqual({
      mtu: 1438,
      pathMtu: 1500,
    });
  });
});
