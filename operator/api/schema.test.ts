import { describe, expect, it } from "vitest";
import { describeProblem } from "../../model/problem.ts";
import { checkForm } from "./schema.ts";
import { manifestOf, problemsOf, SAMPLES, type Sample } from "./testdata.ts";

describe("our validation", () => {
  it.each(SAMPLES.filter(({ fault }) => fault === null))("accepts $name", (sample) => {
    expect(problemsOf(sample)).toEqual([]);
  });

  it.each(SAMPLES.filter(({ fault }) => fault !== null))("rejects $name", (sample) => {
    expect(problemsOf(sample)).not.toEqual([]);
  });

  it.each(SAMPLES.filter(({ fault }) => fault === "schema" || fault === "strict"))(
    "rejects the form of $name",
    (sample) => {
      const document = JSON.parse(JSON.stringify(manifestOf(sample, "x")));
      expect(checkForm(document)).toHaveProperty("problems");
    },
  );

  it("reports a wrong address once", () => {
    const [sample] = SAMPLES.filter(({ name }) => name === "a host name as an address");
    const checked = checkForm(JSON.parse(JSON.stringify(manifestOf(sample as never, "x"))));
    expect(checked).toEqual({
      problems: [
        {
          path: "spec.remote.address",
          value: "peer.example",
          reason: "not an IP address",
          remedy: "use an IPv4 or IPv6 address",
        },
      ],
    });
  });

  it("accepts a manifest with a status, such as kubectl's output", () => {
    const [sample] = SAMPLES;
    const document = { ...manifestOf(sample as never, "x"), status: { unknown: 1 } };
    expect(checkForm(document)).toHaveProperty("object");
  });

  it("reports every bad field at once", () => {
    const remote = { address: "", port: 0 };
    const spec = { nodeName: "n1", tunnelId: 0, peerTunnelId: 0, remote };
    const sample: Sample = { name: "all wrong", kind: "L2tpTunnel", spec, fault: "schema" };
    const paths = problemsOf(sample).map(({ path }) => path);
    expect(new Set(paths)).toEqual(
      new Set(["spec.tunnelId", "spec.peerTunnelId", "spec.remote.address", "spec.remote.port"]),
    );
  });

  it.each([
    ["id 0", "spec.tunnelId: 0: out of range; use a whole number from 1 to 4294967295"],
    ["an id of 33 bits", "spec.peerTunnelId: 4294967296: out of range"],
    ["half an id", "spec.peerTunnelId: 1.5"],
    ["port 0", "spec.remote.port: 0: out of range; use a whole number from 1 to 65535"],
    ["session id 0", "spec.sessionId: 0: out of range"],
    ["a negative id", "spec.peerSessionId: -1: out of range"],
    ["a tiny MTU", "spec.mtu: 67: out of range; use a whole number from 68 to 65521"],
    ["a huge MTU", "spec.mtu: 65522: out of range"],
    ["a cookie of 5 bytes", "spec.cookies.receive.value: invalid format; correct it (8 or 16"],
  ])("reports %s", (name, message) => {
    const sample = SAMPLES.find((known) => known.name === name);
    expect(
      problemsOf(sample as Sample)
        .map(describeProblem)
        .join("\n"),
    ).toContain(message);
  });
});
