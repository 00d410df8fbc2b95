import { describe, expect, it } from "vitest";
import { whyNotInterface } from "./interfaces.ts";
import type { L2tpSession, L2tpTunnel } from "./types.ts";

const tunnel = (allowedInterfaces?: string[]) =>
  ({ metadata: { name: "t" }, spec: { allowedInterfaces } }) as unknown as L2tpTunnel;
const session = (name?: string) =>
  ({ spec: { attachment: { interface: name } } }) as unknown as L2tpSession;
const isAllowed = (patterns: string[], name: string) =>
  whyNotInterface(tunnel(patterns), session(name)) === null;

describe("the interfaces that a tunnel allows", () => {
  it("are none by default", () => {
    expect(whyNotInterface(tunnel(), session("eth1"))).toContain("spec.allowedInterfaces");
    expect(whyNotInterface(tunnel([]), session("eth1"))).not.toBeNull();
  });

  it("are not checked for a session without an interface", () => {
    expect(whyNotInterface(tunnel(), session())).toBeNull();
  });

  it.each([
    ["eth1", "eth1"],
    ["eth*", "eth1.100"],
    ["*", "anything"],
    ["*.100", "eth1.100"],
    ["e*1*0", "eth1.100"],
    ["eth*", "eth"],
    ["***", "e"],
  ])("with %s are such as %s", (pattern, name) => {
    expect(isAllowed(["no", pattern], name)).toBe(true);
  });

  it.each([
    ["eth1", "eth10"],
    ["eth.", "eth1"],
    ["eth*", "veth1"],
    ["aba*aba", "aba"],
    ["e*1*1", "eth1"],
    ["", "eth1"],
  ])("with %s are not such as %s", (pattern, name) => {
    expect(isAllowed([pattern], name)).toBe(false);
  });
});
