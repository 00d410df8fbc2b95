import { describe } from "vitest";
import { testGroups, testHeaders } from "../harness/transparency.ts";

const PROCESS = { datapath: "Userspace" } as const;

describe("by the process", () => {
  testHeaders(PROCESS, false);
  testGroups(PROCESS, false);
});

describe("by the fast path", () => {
  testHeaders({ ...PROCESS, fastPath: true }, false);
});
