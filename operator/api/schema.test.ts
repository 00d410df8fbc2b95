import { describe, expect, it } from "vitest";
import { checkForm } from "./schema.ts";
import { manifestOf, SAMPLES } from "./testdata.ts";
import type { L2tpObject } from "./types.ts";
import { validateSession, validateTunnel } from "./validate.ts";

/** As the whole of our own validation sees it: by form first, then by meaning. */
function problemsOf(manifest: object): string[] {
  const checked = checkForm(JSON.parse(JSON.stringify(manifest)));
  if ("problems" in checked) return checked.problems.map(({ path }) => path);
  return meaning(checked.object).map(({ path }) => path);
}

function meaning(object: L2tpObject) {
  return object.kind === "L2tpTunnel" ? validateTunnel(object.spec) : validateSession(object.spec);
}

describe("our own validation", () => {
  it.each(SAMPLES.filter(({ fault }) => fault === null))("takes $name", (sample) => {
    expect(problemsOf(manifestOf(sample, "x"))).toEqual([]);
  });

  it.each(SAMPLES.filter(({ fault }) => fault !== null))("refuses $name", (sample) => {
    expect(problemsOf(manifestOf(sample, "x"))).not.toEqual([]);
  });

  it.each(SAMPLES.filter(({ fault }) => fault === "schema" || fault === "strict"))(
    "refuses $name by its form",
    (sample) => {
      const document = JSON.parse(JSON.stringify(manifestOf(sample, "x")));
      expect(checkForm(document)).toHaveProperty("problems");
    },
  );

  it("says what is wrong with an address once", () => {
    const [sample] = SAMPLES.filter(({ name }) => name === "a name for an address");
    const checked = checkForm(JSON.parse(JSON.stringify(manifestOf(sample as never, "x"))));
    expect(checked).toEqual({
      problems: [
        {
          path: "spec.remote.address",
          value: "peer.example",
          reason: "not an IP address",
          remedy: "IPv4 or IPv6, such as 192.0.2.1",
        },
      ],
    });
  });

  it("takes a manifest that has a status, as kubectl shows it", () => {
    const [sample] = SAMPLES;
    const document = { ...manifestOf(sample as never, "x"), status: { whatever: 1 } };
    expect(checkForm(document)).toHaveProperty("object");
  });
});
