import { expect, it } from "vitest";
import type { SessionState } from "../../../datapath/datapath.ts";
import { session } from "../../../model/testdata.ts";
import { mtuOfPath, mtuOfPeer, oversize, unsendable } from "./mtu.ts";
import type { SessionCase } from "./picture.ts";

interface Case {
  readonly rxOversize?: number;
  readonly fitting?: number | null;
  readonly peerMtu?: number;
  readonly deviceMtu?: number;
}

function examine({ rxOversize = 0, fitting = null, peerMtu, deviceMtu }: Case) {
  const control = { established: { peerMtu } } as NonNullable<SessionState["control"]>;
  const state = { session: session({ mtu: 1446 }), ...(peerMtu === undefined ? {} : { control }) };
  const around = {
    fittingMtu: () => fitting,
    device: () => (deviceMtu ? { mtu: deviceMtu } : null),
  };
  const of = { state, grown: { rxOversize }, around } as unknown as SessionCase;
  return [oversize, mtuOfPath, mtuOfPeer].flatMap((rule) => rule(of) ?? []);
}

it.each<[string, Case]>([
  ["nothing is known", {}],
  ["all fits", { fitting: 1446, peerMtu: 1446 }],
  ["the device has a smaller MTU than its session", { fitting: 1400, deviceMtu: 1400 }],
  ["the path and the peer have larger MTUs", { fitting: 8946, peerMtu: 9000 }],
])("finds nothing if %s", (_what, given) => {
  expect(examine(given)).toEqual([]);
});

it.each<[string, Case, string, RegExp, RegExp]>([
  [
    "a path that is narrower",
    { fitting: 1400 },
    "warning",
    /^the MTU 1446 is too large for the path: large frames are fragmented$/,
    /set spec\.mtu to 1400 or less at both ends$/,
  ],
  [
    "a path that is too narrow for IPv6",
    { fitting: 1246 },
    "warning",
    /^the MTU 1446 is too large for the path/,
    /set spec\.mtu to 1246 or less at both ends; below 1280 pods have no IPv6$/,
  ],
  [
    "frames above the MTU",
    { rxOversize: 2 },
    "error",
    /^dropped 2 received frames larger than the MTU 1446$/,
    /the peer's MTU is larger: set the same MTU at both ends/,
  ],
  [
    "a peer with a smaller MTU",
    { peerMtu: 1400 },
    "warning",
    /^the MTU is 1446, the peer's is 1400: the peer drops larger frames$/,
    /^set spec\.mtu: 1400, or set the peer's MTU to 1446$/,
  ],
])("finds %s, and names a remedy", (_what, given, severity, finding, remedy) => {
  const found = examine(given);
  expect(found).toEqual([{ severity, finding: expect.anything(), remedy: expect.anything() }]);
  expect(found[0]?.finding).toMatch(finding);
  expect(found[0]?.remedy).toMatch(remedy);
});

it("explains EMSGSIZE, and no other error", () => {
  expect(unsendable("EPERM", "192.0.2.2")).toBeNull();
  expect(unsendable("EMSGSIZE", "192.0.2.2")).toEqual({
    severity: "error",
    finding: "sending to 192.0.2.2 fails: frames and headers exceed 65,535 bytes",
    remedy: "set spec.mtu to 65000 or less at both ends",
  });
});
