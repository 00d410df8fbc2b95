import { expect, it } from "vitest";
import { ConnectionError } from "../rpc/errors.ts";
import { failureCode } from "./failure.ts";

it.each([
  [{ code: "EADDRINUSE" }, "EADDRINUSE"],
  [{ code: "EBADFD" }, "EBADFD"],
  [new ConnectionError("EDATAPATH", "away"), "EDATAPATH"],
  [{ code: "NotOurs" }, "NotOurs"],
  [{ code: "of a newer version" }, "Internal"],
  [{ code: 5 }, "Internal"],
  [new Error("no code"), "Internal"],
  [undefined, "Internal"],
])("maps %o to the code %s", (error, code) => {
  expect(failureCode(error)).toBe(code);
});
