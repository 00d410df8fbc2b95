import { beforeEach, expect, it } from "vitest";
import type { Change } from "../../datapath/datapath.ts";
import type { KernelDatapath } from "../../datapath/kernel/kernel.ts";
import { controlHalf } from "../../model/halves.ts";
import { tunnelControl, tunnel as tunnelOf } from "../../model/testdata.ts";
import type { Reply } from "../../rpc/errors.ts";
import { applyHandingOver } from "./hand-over.ts";

const half = controlHalf(tunnelOf({ datapath: "Kernel", control: tunnelControl(), tunnelId: 7 }));
const put: Change = { op: "putTunnel", tunnel: half };
const leave: Change = { op: "deleteTunnel", name: half.name };
const plain: Change = { op: "putTunnel", tunnel: tunnelOf({ name: "plain" }) };

/** What happened, in order. */
let events: string[];
let holds: boolean;
let answer: Reply<null>;

beforeEach(() => {
  events = [];
  holds = true;
  answer = { result: null };
});

const kernel = {
  holds: () => holds,
  release: async (ids: readonly number[]) => {
    events.push(`release ${ids.join()}`);
  },
} as unknown as KernelDatapath;

function apply(...changes: Change[]) {
  const process = async (some: readonly Change[]) => {
    events.push(some.map(({ op }) => op).join());
    return some.map((): Reply<null> => answer);
  };
  return applyHandingOver(changes, process, () => kernel);
}

it("passes on what gives the kernel nothing", async () => {
  expect(await apply(plain, leave)).toHaveLength(2);
  expect(events).toEqual(["putTunnel,deleteTunnel"]);
});

it("waits between the end of a socket and the next of the same tunnel", async () => {
  expect(await apply(leave, put, plain)).toEqual([answer, answer, answer]);
  expect(events).toEqual(["deleteTunnel", "release 7", "putTunnel,putTunnel"]);
  events = [];
  await apply(put);
  expect(events).toEqual(["release ", "putTunnel"]);
});

it("says whose the tunnel is where the kernel has one of that id", async () => {
  answer = { error: { code: "EEXIST", message: "create tunnel 7: EEXIST" } };
  expect(await apply(put, plain)).toEqual([
    { error: { code: "NotOurs", message: expect.stringContaining("del tunnel tunnel_id 7") } },
    answer,
  ]);
});

it("believes nobody that the kernel has it", async () => {
  holds = false;
  expect(await apply(put)).toEqual([
    { error: { code: "NotHandedOver", message: expect.stringContaining("older than the agent") } },
  ]);
});
