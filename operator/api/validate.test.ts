import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { describeProblem } from "../../model/problem.ts";
import { addressKind, parseAddress } from "../../net/ip.ts";
import { readDefinitions } from "./crds.ts";
import { fieldAtFault, RULES } from "./rules.ts";
import { problemsOf, SAMPLES } from "./testdata.ts";
import type { SessionSpec, TunnelSpec } from "./types.ts";
import { MAX_ID, MAX_MTU, MIN_MTU, validateSession, validateTunnel } from "./validate.ts";

const TUNNEL: TunnelSpec = {
  nodeName: "a",
  encapsulation: "UDP",
  local: { address: "192.0.2.1", port: 5000 },
  remote: { address: "198.51.100.7", port: 5001 },
  tunnelId: 42,
  peerTunnelId: 45,
};
/** Addresses near the borders between kinds of addresses. */
const EDGES = fc
  .tuple(
    fc.constantFrom("0", "00", "fe80", "FE8F", "febf", "fec0", "ff0", "ff02", "FFFF", "fe8", "224"),
    fc.constantFrom("::", "::1", "::224.0.0.1", ":0:0:0:0:0:0:0", ".0.0.0", ".255.255.255"),
  )
  .map((parts) => parts.join(""))
  .chain((text) =>
    fc.constantFrom(
      ...[text, "255.255.255.255", "::", "239.1.1.1"],
      ...["::ffff:224.0.0.1", "::FFFF:c000:201", "0:0:0:0:0:ffff:192.0.2.1"],
      ...["0:0:0:0:0:ffff::1", "0:0:0:0:0:ffff::", "::ffff:0:192.0.2.1", "::ffff", "::ffff:1"],
      ...["0::ffff:1:2", "1::ffff:1:2", "::fffe:1:2", "::1:ffff:1:2"],
    ),
  );
const SESSION: SessionSpec = { tunnelRef: { name: "t" }, sessionId: 1, peerSessionId: 2 };

describe("validateTunnel", () => {
  it.each<[string, Partial<TunnelSpec>]>([
    ["the example", {}],
    ["IPv6", { local: { address: "2001:db8::1" }, remote: { address: "2001:db8::2" } }],
    ["IP", { encapsulation: "IP", local: {}, remote: { address: "192.0.2.2" } }],
    ["no local address", { local: { port: 7 } }],
    ["the largest ids", { tunnelId: 0xffffffff, peerTunnelId: 1 }],
    ["a link-local remote", { local: { interface: "eth0" }, remote: { address: "fe80::2" } }],
    [
      "one host, two ports",
      { local: { address: "127.0.0.1", port: 1 }, remote: { address: "127.0.0.1", port: 2 } },
    ],
  ])("accepts %s", (_name, change) => {
    expect(validateTunnel({ ...TUNNEL, ...change })).toEqual([]);
  });

  it.each<[string, Partial<TunnelSpec>, string]>([
    ["multicast", { remote: { address: "224.0.0.1" } }, "a multicast address"],
    ["broadcast", { remote: { address: "255.255.255.255" } }, "a broadcast address"],
    ["an unspecified address", { remote: { address: "0.0.0.0" } }, "an? unspecified address"],
    [
      "link-local without an interface",
      { local: {}, remote: { address: "fe80::1" } },
      "a link-local address",
    ],
    ["IPv4 in IPv6", { local: {}, remote: { address: "::ffff:192.0.2.2" } }, "IPv4-mapped address"],
    [
      "a local link-local address",
      { local: { address: "fe80::1" } },
      "does not identify an interface",
    ],
    ["two families", { remote: { address: "::1" } }, "not of the address family of spec.remote"],
    [
      "the local endpoint as remote",
      { local: { address: "2001:db8::1" }, remote: { address: "2001:DB8:0::1" } },
      "remote and local endpoint are the same",
    ],
    ["a port over IP", { encapsulation: "IP" }, "IP encapsulation has no ports"],
    ["the fast path with checksums", { fastPath: true }, "requires UDP without checksums"],
    [
      "the fast path in the kernel",
      { fastPath: true, udpChecksum: false, datapath: "Kernel" },
      "requires the userspace datapath",
    ],
    ["no UDP", { encapsulation: "IP", udpChecksum: false }, "IP encapsulation has no UDP checksum"],
    [
      "address and interface",
      { local: { address: "192.0.2.1", interface: "eth0" } },
      "address and interface are both set",
    ],
    ["no selector", { allowedNamespaces: { from: "Selector" } }, "required with from: Selector"],
  ])("rejects %s", (_name, change, message) => {
    const problems = validateTunnel({ ...TUNNEL, ...change }).map(describeProblem);
    expect(problems.join("\n")).toMatch(new RegExp(message));
  });

  it("reports every bad field at once", () => {
    const backup = [{ address: "198.51.100.7" }, { address: "::1", port: 7 }];
    const spec: TunnelSpec = { ...TUNNEL, encapsulation: "IP", fastPath: true, backup };
    expect(validateTunnel(spec).map(({ path, value }) => [path, value])).toEqual([
      ["spec.backup", undefined],
      ["spec.backup[1].address", "::1"],
      ["spec.backup[0].address", "198.51.100.7"],
      ["spec.local.port", 5000],
      ["spec.remote.port", 5001],
      ["spec.backup[1].port", 7],
      ["spec.fastPath", true],
    ]);
  });

  it("recognizes each kind of address in any spelling", () => {
    const kinds = {
      unspecified: /an unspecified address/,
      multicast: /a multicast address/,
      broadcast: /a broadcast address/,
      "link-local": /a link-local address/,
      "ipv4-mapped": /an IPv4-mapped address/,
      unicast: /^$/,
      loopback: /^$/,
    };
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), EDGES), (address) => {
        const bytes = parseAddress(address);
        fc.pre(bytes !== undefined);
        const problems = validateTunnel({ ...TUNNEL, local: {}, remote: { address } });
        const found = problems.map(describeProblem).join();
        expect(found).toMatch(kinds[addressKind(bytes)]);
      }),
      { numRuns: 2000 },
    );
  });
});

describe("validateSession", () => {
  it.each<[string, Partial<SessionSpec>]>([
    ["the required fields only", {}],
    [
      "cookies",
      { cookies: { receive: { value: "a1b2c3d4" }, transmit: { value: "0".repeat(16) } } },
    ],
    ["reordering", { sequencing: { send: true, receive: true, reorderTimeout: "50ms" } }],
    ["no sublayer", { l2SpecificSublayer: "None" }],
  ])("accepts %s", (_name, change) => {
    expect(validateSession({ ...SESSION, ...change })).toEqual([]);
  });

  it.each<[string, Partial<SessionSpec>, string]>([
    [
      "a cookie without a source",
      { cookies: { receive: {} } },
      "neither value nor valueFrom is set",
    ],
    [
      "reorderTimeout without receive",
      { sequencing: { reorderTimeout: "50ms" } },
      "has no effect without sequencing.receive",
    ],
    [
      "a timeout of soon",
      { sequencing: { receive: true, reorderTimeout: "soon" } },
      "out of range",
    ],
    ["a timeout of 11s", { sequencing: { receive: true, reorderTimeout: "11s" } }, "out of range"],
    [
      "sequencing without a sublayer",
      { l2SpecificSublayer: "None", sequencing: { send: true } },
      "sequence numbers require the L2-Specific Sublayer",
    ],
  ])("rejects %s", (_name, change, message) => {
    const problems = validateSession({ ...SESSION, ...change }).map(describeProblem);
    expect(problems.join("\n")).toContain(message);
  });

  it("never shows a cookie", () => {
    fc.assert(
      fc.property(fc.string({ minLength: 4 }), (value) => {
        const valueFrom = { secretKeyRef: { name: "s", key: "k" } };
        const cookies = { receive: { value, valueFrom } };
        const problems = validateSession({ ...SESSION, cookies });
        expect(problems).toHaveLength(1);
        for (const problem of problems) expect(problem.value).toBeUndefined();
      }),
    );
  });
});

describe("bounds", () => {
  const [tunnel, session] = readDefinitions().map(
    ({ schema }) => schema.properties?.spec?.properties,
  );

  it("are those of the schema", () => {
    expect(tunnel?.tunnelId?.maximum).toBe(MAX_ID);
    expect(session?.sessionId?.maximum).toBe(MAX_ID);
    expect(session?.mtu).toMatchObject({ minimum: MIN_MTU, maximum: MAX_MTU });
  });
});

describe("the samples", () => {
  it.each(
    Object.entries(RULES)
      .flatMap(([kind, rules]) =>
        Object.entries(rules).map(([name, rule]) => ({ kind, name, rule })),
      )
      .filter(({ rule }) => rule.onlyInCel === undefined),
  )("break the rule $name", ({ kind, rule }) => {
    const broken = SAMPLES.filter((sample) => sample.kind === kind).filter((sample) =>
      problemsOf(sample).some(({ path, reason, remedy }) => {
        const field = path.replaceAll(/\[\d+\]/g, "[]");
        const isAt = rule.at.some((at) => fieldAtFault(rule, at) === field);
        return isAt && reason === rule.reason && remedy === rule.remedy;
      }),
    );
    expect(broken).not.toEqual([]);
  });
});
