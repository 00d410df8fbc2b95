import { expect, it } from "vitest";
import { aboutConditions } from "./conditions.ts";

const of = (type: string, reason: string, status = "False") =>
  aboutConditions("L2tpSession shop/lan", [
    { type: "Accepted", status: "True", reason: "Valid", message: "" },
    { type, status, reason, message: "It is so." },
  ]);

it.each([
  ["Established", "NotActive", "warning", /nothing is wrong at this end: attach a pod at the peer/],
  ["Established", "Standby", "warning", /nothing is wrong at this end/],
  ["Alive", "NotAuthorized", "error", /same shared secret/],
  ["Alive", "Connecting", "error", /firewall/],
  ["Programmed", "AddressNotAvailable", "error", /add the address to the node/],
  ["Accepted", "Invalid", "error", /correct what the message names/],
])("says what to do about %s: %s", (type, reason, severity, remedy) => {
  const object = "L2tpSession shop/lan";
  const finding = `${reason}: It is so.`;
  expect(of(type, reason)).toEqual([
    { object, severity, finding, remedy: expect.stringMatching(remedy) },
  ]);
});

it("suggests no correction at this end for faults of the peer", () => {
  const reasons = ["Connecting", "PeerLost", "Refused", "Closed", "NotAuthorized"];
  const findings = [
    ...reasons.flatMap((reason) => of("Alive", reason)),
    ...["NotActive", "Standby", "Connecting", "Down"].flatMap((reason) =>
      of("Established", reason),
    ),
    ...["BackupLost", "OnBackup", "AllLost", "Connecting"].flatMap((reason) =>
      of("Redundant", reason),
    ),
  ];
  expect(findings).toHaveLength(13);
  for (const { remedy } of findings) expect(remedy).not.toContain("correct what the message names");
});

it("finds nothing if all conditions are True, or no pod has attached", () => {
  expect(of("Programmed", "Programmed", "True")).toEqual([]);
  expect(of("Attached", "NoPod")).toEqual([]);
});
