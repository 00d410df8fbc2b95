/** An API server's CEL and our validation find the same faults in random objects. */
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Sample } from "../../operator/api/testdata.ts";
import { CrdServer } from "../harness/crd-server.ts";
import { faultsOf, ownFaultsOf, rejectionOf } from "./faults.ts";

let server: CrdServer;

beforeAll(async () => {
  server = await CrdServer.start();
});

afterAll(() => server.stop());

/** Each field is optional. */
const some = <T>(fields: { [K in keyof T]: fc.Arbitrary<T[K]> }) =>
  fc.record(fields, { requiredKeys: [] });

// Canonical forms, because CEL compares addresses as text.
const address = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom("192.0.2.1", "192.0.2.2", "198.51.100.7") },
  { weight: 3, arbitrary: fc.constantFrom("2001:db8::1", "2001:db8::2") },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      ...["0.0.0.0", "::", "127.0.0.1", "224.0.0.1", "239.255.0.1", "240.0.0.1"],
      ...["255.255.255.255", "fe80::1", "febf::1", "fec0::1", "ff02::1", "ff::1"],
      ...["::ffff:192.0.2.1", "::ffff:1", "::ffff:1:2"],
    ),
  },
);
const port = fc.constantFrom(1701, 1702);
const end = fc.record({ address, port }, { requiredKeys: ["address"] });
const duration = fc.constantFrom("0s", "999ms", "1s", "10s", "10001ms", "60s", "3600s", "3601s");
const secretRef = fc.constant({ namespace: "infra", name: "branch", key: "secret" });

const tunnelSpec = fc.record(
  {
    nodeName: fc.constant("n1"),
    remote: end,
    encapsulation: fc.constantFrom("UDP", "IP"),
    local: some({
      ...{ address, interface: fc.constant("eth0"), port },
      prefix: fc.constant("2001:db8:1::/64"),
    }),
    backup: fc.array(end, { minLength: 1, maxLength: 4 }),
    peerTunnelId: fc.constant(45),
    datapath: fc.constantFrom("Auto", "Kernel", "Userspace"),
    udpChecksum: fc.boolean(),
    fastPath: fc.boolean(),
    keyed: fc.boolean(),
    dscp: fc.constantFrom<number | string>(0, 46, "Copy"),
    control: some({
      mode: fc.constantFrom("Static", "Quiescent", "Managed"),
      secretRef,
      previousSecretRef: secretRef,
      hello: some({ interval: duration, deadAfter: fc.oneof(duration, fc.constant("86401s")) }),
    }),
    allowedNamespaces: some({
      from: fc.constantFrom("All", "None", "Selector"),
      selector: fc.constant({ matchLabels: { team: "net" } }),
    }),
  },
  { requiredKeys: ["nodeName", "remote"] },
);

const cookie = some({
  value: fc.constantFrom("a1b2c3d4", "0xA1B2C3D4E5F60718"),
  valueFrom: fc.constant({ secretKeyRef: { name: "cookies", key: "rx" } }),
});

const sessionSpec = fc.record(
  {
    tunnelRef: fc.constant({ name: "branch" }),
    l2SpecificSublayer: fc.constantFrom("Default", "None"),
    cookies: some({ receive: cookie, receivePrevious: cookie, transmit: cookie }),
    sequencing: some({ send: fc.boolean(), receive: fc.boolean(), reorderTimeout: duration }),
  },
  { requiredKeys: ["tunnelRef"] },
);

it.each([
  ["L2tpTunnel", tunnelSpec, 600],
  ["L2tpSession", sessionSpec, 200],
] as const)(
  "an API server finds the same faults in any %s as our validation",
  async (kind, spec, numRuns) => {
    const said = new Set<string>();
    const property = fc.asyncProperty(spec as fc.Arbitrary<object>, async (value) => {
      const sample: Sample = { name: "random", kind, spec: { ...value }, fault: null };
      const message = await rejectionOf(server, sample);
      const own = ownFaultsOf(sample);
      for (const fault of own) said.add(fault);
      expect(faultsOf(message)).toEqual(own);
    });
    await fc.assert(property, { numRuns });
    // The random specs violate about every rule.
    expect(said.size).toBeGreaterThan(kind === "L2tpTunnel" ? 25 : 5);
  },
);
